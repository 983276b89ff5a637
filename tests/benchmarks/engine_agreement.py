"""How far the fast path says what the reference says."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascade.engine import member_runner
from cascade.imaging.batches import read_batches
from cascade.manifest import Member
from cascade.predictions import DepthMap, Detections, Embedding

SURE = 0.3
IOU, SCORE_OFF = 0.95, 0.02


def agreement(
    fast: Mapping[str, Mapping[str, Any]], reference: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return how far two runs say the same, by member: share of boxes, or the least cosine."""
    found: dict[str, Any] = {}
    for name in next(iter(reference.values())):
        pairs = [(fast[i][name], row[name]) for i, row in reference.items()]
        kind = pairs[0][1]
        if isinstance(kind, Detections):
            alike, boxes = map(sum, zip(*(_same_boxes(*one) for one in pairs), strict=True))
            found[name] = {"boxes": boxes, "alike": alike / max(boxes, 1)}
        elif isinstance(kind, Embedding):
            cosines = [float(a.vector @ b.vector) for a, b in pairs]
            found[name] = {"least_cosine": min(cosines)}
        elif isinstance(kind, DepthMap):
            found[name] = {"median_relative": statistics.median(_depth_off(*one) for one in pairs)}
    return found


def _same_boxes(fast: Detections, reference: Detections) -> tuple[int, int]:
    sure = reference[reference.scores > SURE]
    alike = 0
    for box, score, label in zip(sure.boxes_xyxy, sure.scores, sure.class_ids, strict=True):
        near = fast[(fast.class_ids == label) & (abs(fast.scores - score) <= SCORE_OFF)]
        alike += bool(len(near) and _ious(box, near.boxes_xyxy).max() >= IOU)
    return alike, len(sure)


def _ious(box: Any, boxes: Any) -> Any:
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    inner = np.clip(high - low, 0, None).prod(axis=1)
    both = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return inner / np.maximum(both - inner, 1e-12)


def _depth_off(fast: DepthMap, reference: DepthMap) -> float:
    return float(np.nanmedian(abs(fast.depth - reference.depth) / reference.depth))


def reference_of(
    model: Any, member: Member, ids: Sequence[str], paths: Sequence[Path], device: torch.device
) -> dict[str, Any]:
    """Return what a model says, uncompiled, eight images at a time, by image."""
    found: dict[str, Any] = {}
    for batch, _ in read_batches(ids, paths[: len(ids)], batch_size=8, device=device):
        found |= member_runner.predict_member(model, member, batch, device)
    return found
