"""Raw documents, as the database keeps them, from what the cascade says. Pure: no database.

A raw document is ten times as quick to write as a label object; see `box_documents` for how its
boxes get there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from bson import ObjectId

from cascade.arrays import FloatArray, IntArray
from cascade.fusion.consensus import Clusters, Decisions
from cascade.geometry.sizes import Sizes
from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.storage.bson.box_documents import (
    Boxes,
    Lists,
    Numbers,
    Words,
    label_fields,
    labels_field,
)
from curation.storage.conversions import inside, xyxy_to_xywh
from curation.storage.schema import FINGERPRINT

__all__ = [
    "LEAST_STORED",
    "Calibrate",
    "Document",
    "Failure",
    "consensus_fields",
    "decision_field",
    "labels_field",
    "member_boxes",
    "member_fields",
    "merged_failures",
    "scalar",
]

Document = dict[str, Any]
Calibrate = Callable[[str, Sequence[str], FloatArray], FloatArray]  # member, classes, scores

LEAST_STORED = 0.05  # design: raw low-confidence boxes are not stored


class Failure(Protocol):
    """Why there is no prediction: `cascade.predictions.Failure` is one."""

    @property
    def error(self) -> str:
        """The class of the error."""
        ...

    @property
    def message(self) -> str:
        """Its text, one line."""
        ...


def member_fields(
    found: Mapping[str, Detections],
    *,
    member: str,
    fingerprint: str,
    taxonomy: Taxonomy,
    calibrate: Calibrate,
) -> tuple[dict[str, Any], Counter[str]]:
    """Return a member's label field for each sample, and how many boxes meant no class.

    Args:
        found: What the member said, in its own words, by sample.
        member: Its name.
        fingerprint: The hash of all that decides what it says.
        taxonomy: What its words mean.
        calibrate: Turns scores into probabilities.
    """
    boxes, dropped = member_boxes(found, member=member, taxonomy=taxonomy, calibrate=calibrate)
    return dict(zip(found, label_fields(boxes, fingerprint), strict=True)), dropped


def member_boxes(
    found: Mapping[str, Detections], *, member: str, taxonomy: Taxonomy, calibrate: Calibrate
) -> tuple[Boxes, Counter[str]]:
    """Return the boxes of `member_fields`, which has the arguments, and how many were dropped.

    A box is stored with its canonical label, its calibrated `confidence`, its raw `score` and
    the member's own word; not where both numbers are under `LEAST_STORED`.
    """
    owner = np.repeat(np.arange(len(found)), [len(one) for one in found.values()])
    scores = _joined([one.scores for one in found.values()]).astype(np.float64)
    corners = _joined([one.boxes_xyxy for one in found.values()])
    raw, words = _raw_labels(list(found.values()))
    class_id = np.array([*taxonomy.ids_of(words), -1], np.int64)[raw]
    times = np.bincount(raw[class_id < 0], minlength=len(words)).tolist()
    dropped = +Counter(dict(zip(words, times, strict=True)))

    known = class_id >= 0
    p = np.zeros(len(raw))
    names = [taxonomy.names[c] for c in class_id[known].tolist()]
    if names:
        p[known] = calibrate(member, names, scores[known])
    kept = known & (np.maximum(p, scores) >= LEAST_STORED)
    boxes = Boxes(
        n=len(found),
        owner=owner[kept],
        label=Words(class_id[kept], taxonomy.names),
        boxes_xywh=xyxy_to_xywh(inside(corners))[kept],
        attributes={
            "confidence": Numbers(p[kept]),
            "score": Numbers(scores[kept]),
            "raw_label": Words(raw[kept], words),
        },
    )
    return boxes, dropped


def consensus_fields(
    clusters: Clusters,
    *,
    fingerprint: str,
    hardness: FloatArray | None = None,
    sizes: Sizes | None = None,
) -> list[Any]:
    """Return the label field of the fused boxes, one for each of the n images.

    Args:
        clusters: The objects that the ensemble sees.
        fingerprint: The hash of all that decides on them.
        hardness: h_k of each cluster, shape (K,), in [0, 1]; None before it was scored.
        sizes: Distance and size of each cluster; None where no depth is known.
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
    """Return the image decision of one image, or None where nobody votes."""
    p = float(decisions.p[image])
    if np.isnan(p):
        return None
    return {
        "_id": ObjectId(),
        "_cls": "Classification",
        "tags": [],
        "label": "yes" if p >= threshold else "no",
        "confidence": p,
        FINGERPRINT: fingerprint,
    }


def merged_failures(
    existing: Iterable[Mapping[str, Any]],
    *,
    stage: str,
    outcomes: Mapping[str, Failure | None],
) -> list[Document]:
    """Return the failures of a sample after a stage has run members on it once more.

    A failure replaces the earlier one of the same stage and member; a success (None) ends it.
    """
    kept = [
        dict(one)
        for one in existing
        if one.get("stage") != stage or one.get("member") not in outcomes
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
    return kept + new


def scalar(value: Any) -> Any:
    """Return a value as the database takes it: NaN becomes None, numpy becomes python."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return [scalar(one) for one in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def _raw_labels(found: Sequence[Detections]) -> tuple[IntArray, list[str]]:
    """Return each box's word as an index into the words, which are those that occur."""
    words: dict[str, int] = {}
    columns: dict[tuple[str, ...], IntArray] = {}
    parts: list[IntArray] = [np.zeros(0, np.int64)]
    for one in found:
        if one.classes not in columns:
            ids = [words.setdefault(word, len(words)) for word in one.classes]
            columns[one.classes] = np.array(ids, np.int64)
        parts.append(columns[one.classes][one.class_ids])
    return np.concatenate(parts), list(words)


def _joined(parts: Sequence[FloatArray]) -> FloatArray:
    return np.concatenate([np.zeros((0, *parts[0].shape[1:])), *parts]) if parts else np.zeros(0)
