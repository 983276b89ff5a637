"""How far the fast path says what the reference says."""

from __future__ import annotations

import json
import logging
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from engine_members import ensemble_in
from engine_run import Bench

from cascade import manifest as manifests
from cascade import run as engine
from cascade.ensemble import Ensemble
from cascade.images import batches
from cascade.manifest import Member
from cascade.predictions import DepthMap, Detections, Embedding

logger = logging.getLogger("bench_engine")

SURE = 0.3
IOU, SCORE_OFF, ALIKE, COSINE = 0.95, 0.02, 0.99, 0.999
TRAINED = """
name: trained
members:
  - {name: tiny_center, tier: detection, adapter: center_point, source: "package:tiny_center",
     licence: Apache-2.0}
  - {name: tiny_rtdetr, tier: detection, adapter: rt_detr, source: "package:tiny_rtdetr",
     licence: Apache-2.0}
"""


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


def measure_agreement(bench: Bench, folder: Path, count: int) -> None:
    """Compare the fast path with float32, uncompiled, on images that OpenCV decoded.

    Random weights may be chaotic. So the reference is compared with itself, too, on pictures of
    which every pixel is another by one grey level at most: what does not survive that says
    nothing about the fast path.
    """
    ids = [str(i) for i in range(min(count, len(bench.paths)))]
    fast = engine.Memory()
    bench.run(fast, ids)
    reference = _reference(folder, ids, bench.paths, bench.device)
    bench.report["agreement"] = agreement(fast.results, reference)
    logger.info("agreement: %s", json.dumps(bench.report["agreement"]))
    with tempfile.TemporaryDirectory() as scratch:
        paths = zip(ids, bench.paths[: len(ids)], strict=True)
        others = [_nudged(path, Path(scratch) / f"{i}.png") for i, path in paths]
        nudged = _reference(folder, ids, others, bench.device)
    bench.report["agreement_with_itself"] = agreement(nudged, reference)
    logger.info("with itself: %s", json.dumps(bench.report["agreement_with_itself"]))


def _reference(
    folder: Path, ids: Sequence[str], paths: Sequence[Path], device: torch.device
) -> dict[str, dict[str, Any]]:
    """Return what every member says in float32, uncompiled, by image and member."""
    reference: dict[str, dict[str, Any]] = {one: {} for one in ids}
    exact = ensemble_in(folder)
    for one in exact.manifest.members:
        member = one.model_copy(update={"precision": "fp32", "batch_size": 8})
        model = exact.build(one.name, device)
        model.module.float()
        for name, said in _referred(model, member, ids, paths, device).items():
            reference[name][one.name] = said
        del model
        torch.cuda.empty_cache()
    return reference


def _referred(
    model: Any, member: Member, ids: Sequence[str], paths: Sequence[Path], device: torch.device
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for batch, _ in batches(ids, paths[: len(ids)], batch_size=8, device=device):
        found |= engine.of_member(model, member, batch, device)
    return found


def _nudged(path: Path, target: Path) -> Path:
    """Write a picture of which every pixel differs by at most one grey level."""
    pixels = cv2.imread(str(path))
    by = np.random.default_rng(0).integers(-1, 2, pixels.shape)
    cv2.imwrite(str(target), np.clip(pixels + by, 0, 255).astype(np.uint8))
    return target


def measure_trained(bench: Bench, folder: Path) -> None:
    """Compare the paths on trained detectors, in their own precision, over scenes they know."""
    from curation.demo.dataset import write_dataset

    write_dataset(folder, n_drives_by_split={"train": 1, "val": 4, "test": 4}, seed=5)
    paths = sorted(one for one in folder.rglob("*") if one.suffix in (".jpg", ".png"))
    ids = [str(i) for i in range(len(paths))]
    one = Ensemble.from_manifest(manifests.parse(TRAINED))
    members = {name: one.manifest.member(name) for name in one.detectors}
    models = {name: one.build(name, bench.device) for name in members}
    fast = engine.Memory()
    on_cuda = bench.device.type == "cuda"
    runners = engine.runners_of(models, members, bench.device, compiled=on_cuda)
    replace(bench, runners=runners, paths=paths).run(fast, ids)
    reference: dict[str, dict[str, Any]] = {i: {} for i in ids}
    for name in members:
        plain = one.build(name, bench.device)
        for i, found in _referred(plain, members[name], ids, paths, bench.device).items():
            reference[i][name] = found
    bench.report["agreement_trained"] = agreement(fast.results, reference)
    logger.info("trained: %s", json.dumps(bench.report["agreement_trained"]))
