"""Raw documents of predictions, as stored in the database. Pure: no database.

Writing a raw document is ten times as fast as writing a FiftyOne label. Boxes are encoded in
`bson.box_documents`. Masks and depth maps are in files: their documents hold the paths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from bson import ObjectId

from cascade.arrays import FloatArray, IntArray
from cascade.fusion.consensus import Clusters, Decisions
from cascade.geometry.sizes import Sizes
from cascade.predictions import Answer, Detections, Failure, Masks
from cascade.taxonomy import Taxonomy
from curation.storage.bson.box_documents import (
    Boxes,
    Lists,
    Numbers,
    Words,
    empty_label_field,
    label_fields,
)
from curation.storage.conversions import inside, raw_detection, xyxy_to_xywh
from curation.storage.schema import FINGERPRINT

Document = dict[str, Any]
Calibrate = Callable[[str, Sequence[str], FloatArray], FloatArray]  # member, classes, scores

MIN_STORED_SCORE = 0.05
UNUSABLE = "no usable answer"  # label of an answer without yes or no


def member_fields(
    predictions: Mapping[str, Detections],
    *,
    member: str,
    fingerprint: str,
    taxonomy: Taxonomy,
    calibrate: Calibrate,
) -> tuple[dict[str, Any], int, Counter[str]]:
    """Return the label field of a member for each sample, the number of boxes, and dropped boxes.

    A box has its canonical label, calibrated `confidence`, raw `score` and the member's own
    label. Boxes with both numbers below `MIN_STORED_SCORE` are left out; boxes of unknown
    label are dropped and counted by label.

    Args:
        predictions: Detections by sample id, in the labels of the member.
        member: Name of the member.
        fingerprint: Fingerprint of the member.
        taxonomy: Maps the member's labels to classes.
        calibrate: Maps scores to probabilities.
    """
    owner = np.repeat(np.arange(len(predictions)), [len(boxes) for boxes in predictions.values()])
    scores = _concatenate([boxes.scores for boxes in predictions.values()]).astype(np.float64)
    corners = _concatenate([boxes.boxes_xyxy for boxes in predictions.values()])
    raw_id, raw_labels = _raw_labels(list(predictions.values()))
    class_id = np.array([*taxonomy.ids_of(raw_labels), -1], np.int64)[raw_id]
    counts = np.bincount(raw_id[class_id < 0], minlength=len(raw_labels)).tolist()
    dropped = +Counter(dict(zip(raw_labels, counts, strict=True)))

    has_class = class_id >= 0
    p = np.zeros(len(raw_id))
    labels = [taxonomy.names[c] for c in class_id[has_class].tolist()]
    if labels:
        p[has_class] = calibrate(member, labels, scores[has_class])
    stored = has_class & (np.maximum(p, scores) >= MIN_STORED_SCORE)
    boxes = Boxes(
        n=len(predictions),
        owner=owner[stored],
        label=Words(class_id[stored], taxonomy.names),
        boxes_xywh=xyxy_to_xywh(inside(corners))[stored],
        attributes={
            "confidence": Numbers(p[stored]),
            "score": Numbers(scores[stored]),
            "raw_label": Words(raw_id[stored], raw_labels),
        },
    )
    fields = dict(zip(predictions, label_fields(boxes, fingerprint), strict=True))
    return fields, len(boxes), dropped


def consensus_fields(
    clusters: Clusters,
    *,
    fingerprint: str,
    hardness: FloatArray | None = None,
    sizes: Sizes | None = None,
) -> list[Any]:
    """Return the label fields of the fused boxes, one for each of the n images.

    Args:
        clusters: The fused boxes.
        fingerprint: Hash of everything that determines them.
        hardness: Hardness of each cluster, shape (K,), in [0, 1]; None before scoring.
        sizes: Distance and size of each cluster; None if depth is unavailable.
    """
    attributes: dict[str, Numbers | Words | Lists] = {
        "confidence": Numbers(clusters.p_fused),
        "votes": Numbers(clusters.votes, "int"),
        "agreement": Numbers(clusters.agreement),
        "members": Lists(~np.isnan(clusters.member_boxes[..., 0]), clusters.members),
    }
    if hardness is not None:
        attributes["hardness"] = Numbers(hardness)
    if sizes is not None:
        measured = ~np.isnan(sizes.distance_m)
        attributes |= {
            "distance_m": Numbers(sizes.distance_m),
            "height_m": Numbers(np.where(measured, sizes.height_m, np.nan)),
            "plausible": Numbers(np.where(measured, sizes.plausible, np.nan), "bool"),
        }
    boxes = Boxes(
        n=clusters.n_images,
        owner=clusters.image,
        label=Words(clusters.class_id, clusters.classes),
        boxes_xywh=xyxy_to_xywh(inside(clusters.boxes_xyxy)),
        attributes=attributes,
    )
    return label_fields(boxes, fingerprint)


def decision_field(
    decisions: Decisions, image: int, *, threshold: float, fingerprint: str
) -> Document | None:
    """Return the decision of one image, or None if there is no vote."""
    p = float(decisions.p[image])
    if np.isnan(p):
        return None
    return {
        **_label("Classification"),
        "label": "yes" if p >= threshold else "no",
        "confidence": p,
        FINGERPRINT: fingerprint,
    }


def answer_field(answer: Answer, *, fingerprint: str, contradicts: str | None = None) -> Document:
    """Return the answer of a language member; the confidence is P(yes) for every label."""
    yes = None if answer.p_yes is None else answer.p_yes >= 0.5
    return {
        **_label("Classification"),
        "label": UNUSABLE if yes is None else "yes" if yes else "no",
        "confidence": answer.p_yes,
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
    """Return masks as boxes with files; masks of labels without a class are left out.

    Args:
        masks: The N masks.
        boxes_xyxy: Extent of each, relative corners, shape (N, 4).
        paths: File of each, length N.
        fingerprint: Fingerprint of the member.
        taxonomy: Maps the member's labels to classes.
    """
    field = empty_label_field(fingerprint)
    for i, box in enumerate(xyxy_to_xywh(boxes_xyxy).tolist()):
        raw_label = masks.classes[int(masks.class_ids[i])]
        label = taxonomy.canonical(raw_label)
        if label is not None:
            score = float(masks.scores[i])
            field["detections"].append(
                raw_detection(
                    label,
                    box,
                    confidence=score,
                    score=score,
                    raw_label=raw_label,
                    mask_path=paths[i],
                )
            )
    return field


def depth_field(path: str, *, step: float, unit: str, fingerprint: str) -> Document:
    """Return a depth map in a file; `step` is the depth of one gray level, in `unit`."""
    return {
        **_label("Heatmap"),
        "map": None,
        "map_path": path,
        "range": [0, 65535],
        "step": step,
        "unit": unit,
        FINGERPRINT: fingerprint,
    }


def parse_answer(field: Mapping[str, Any] | None) -> Answer | None:
    """Return the answer in a raw field; None if there is no field."""
    if field is None:
        return None
    return Answer(
        p_yes=field.get("confidence"),
        reason=field.get("reason") or "",
        objects=tuple(field.get("objects") or ()),
    )


def merged_failures(
    existing: Iterable[Mapping[str, Any]],
    *,
    stage: str,
    outcomes: Mapping[str, Failure | None],
) -> list[Document]:
    """Return the failures of a sample after a stage has run members on it again.

    A failure replaces the earlier one of the same stage and member; a success (None) removes it.
    """
    remaining = [
        dict(failure)
        for failure in existing
        if failure.get("stage") != stage or failure.get("member") not in outcomes
    ]
    new = [
        {
            "_cls": "DynamicEmbeddedDocument",
            "stage": stage,
            "member": member,
            "error": failure.error,
            "message": failure.message,
        }
        for member, failure in outcomes.items()
        if failure is not None
    ]
    return remaining + new


def to_storable(value: Any) -> Any:
    """Return a value as a type of the database: NaN becomes None, NumPy becomes Python."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return [to_storable(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def _label(cls: str) -> Document:
    return {"_id": ObjectId(), "_cls": cls, "tags": []}


def _raw_labels(predictions: Sequence[Detections]) -> tuple[IntArray, list[str]]:
    """Return the label of each box as an index, and the labels of all predictions."""
    labels: dict[str, int] = {}
    columns: dict[tuple[str, ...], IntArray] = {}
    parts: list[IntArray] = [np.zeros(0, np.int64)]
    for boxes in predictions:
        if boxes.classes not in columns:
            ids = [labels.setdefault(label, len(labels)) for label in boxes.classes]
            columns[boxes.classes] = np.array(ids, np.int64)
        parts.append(columns[boxes.classes][boxes.class_ids])
    return np.concatenate(parts), list(labels)


def _concatenate(parts: Sequence[FloatArray]) -> FloatArray:
    return np.concatenate([np.zeros((0, *parts[0].shape[1:])), *parts]) if parts else np.zeros(0)
