"""Raw documents of the tiers that look closer: answers, masks and depth maps. Pure.

See `documents.py`; files are named, not written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bson import ObjectId

from cascade.arrays import FloatArray
from cascade.predictions import Answer, Masks
from cascade.taxonomy import Taxonomy
from curation.storage.conversions import raw_detection, xyxy_to_xywh
from curation.storage.documents import Document, labels_field
from curation.storage.schema import FINGERPRINT

UNUSABLE = "no usable answer"


def answer_field(answer: Answer, *, fingerprint: str, contradicts: str | None = None) -> Document:
    """Return what a language member answers; `UNUSABLE` is its label where it said nothing."""
    yes = None if answer.p_yes is None else answer.p_yes >= 0.5
    return {
        "_id": ObjectId(),
        "_cls": "Classification",
        "tags": [],
        "label": UNUSABLE if yes is None else "yes" if yes else "no",
        "confidence": answer.p_yes,  # of yes, whatever the label
        "reason": answer.reason,
        "objects": list(answer.objects),
        "contradicts": contradicts,
        FINGERPRINT: fingerprint,
    }


def masks_field(
    masks: Masks,
    boxes_xyxy: FloatArray,
    paths: Sequence[str],
    *,
    fingerprint: str,
    taxonomy: Taxonomy,
) -> Document:
    """Return outlined objects, each in a box and with a file; words without a class are left out.

    Args:
        masks: The N masks.
        boxes_xyxy: The extent of each, relative corners, shape (N, 4).
        paths: The file of each, N of them.
        fingerprint: Of the member.
        taxonomy: What its words mean.
    """
    field = labels_field(fingerprint)
    corners = xyxy_to_xywh(boxes_xyxy).tolist()
    for i, box in enumerate(corners):
        word = masks.classes[int(masks.class_ids[i])]
        label = taxonomy.canonical(word)
        if label is not None:
            field["detections"].append(
                raw_detection(
                    label,
                    box,
                    confidence=float(masks.scores[i]),
                    score=float(masks.scores[i]),
                    raw_label=word,
                    mask_path=paths[i],
                )
            )
    return field


def depth_field(path: str, *, step: float, unit: str, fingerprint: str) -> Document:
    """Return a depth map that lies in a file; `step` is what one grey level means in `unit`."""
    return {
        "_id": ObjectId(),
        "_cls": "Heatmap",
        "tags": [],
        "map": None,
        "map_path": path,
        "range": [0, 65535],
        "step": step,
        "unit": unit,
        FINGERPRINT: fingerprint,
    }


def answer_of(field: Mapping[str, Any] | None) -> Answer | None:
    """Return the answer that a raw field holds; None where the member was not asked."""
    if field is None:
        return None
    return Answer(
        p_yes=field.get("confidence"),
        reason=field.get("reason") or "",
        objects=tuple(field.get("objects") or ()),
    )


def probabilities(answers: Sequence[Answer | None]) -> FloatArray:
    """Return P(yes) of each answer, shape (n,), NaN where there is none."""
    return np.array([np.nan if one is None or one.p_yes is None else one.p_yes for one in answers])
