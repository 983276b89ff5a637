"""Raw documents, as the database keeps them, from what the cascade says. Pure: no database.

A raw document is ten times as quick to write as a label object. Numbers are python floats
and ints: the database takes no others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from bson import ObjectId

from cascade.consensus import Clusters, Decisions
from cascade.geometry import Sizes
from cascade.predictions import Detections, FloatArray
from cascade.taxonomy import Taxonomy
from curation.convert import inside, raw_detection, xyxy_to_xywh
from curation.fields import FINGERPRINT

Document = dict[str, Any]
Calibrate = Callable[[str, Sequence[str], FloatArray], FloatArray]  # member, classes, scores

LEAST_STORED = 0.05  # design: raw low-confidence boxes are not stored


class Failure(Protocol):
    """Why there is no prediction: `cascade.run.Failure` is one."""

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
) -> tuple[dict[str, Document], Counter[str]]:
    """Return a member's label field for each sample, and how many boxes meant no class.

    A box is stored with its canonical label, its calibrated `confidence`, its raw `score` and
    the member's own word; not where both numbers are under `LEAST_STORED`.

    Args:
        found: What the member said, in its own words, by sample.
        member: Its name.
        fingerprint: The hash of all that decides what it says.
        taxonomy: What its words mean.
        calibrate: Turns scores into probabilities.
    """
    words = [word for one in found.values() for word in one.labels]
    meaning = {word: taxonomy.canonical(word) for word in set(words)}
    dropped = Counter(word for word in words if meaning[word] is None)
    owner = np.repeat(np.arange(len(found)), [len(one) for one in found.values()])
    scores = _joined([one.scores for one in found.values()])
    boxes = xyxy_to_xywh(inside(_joined([one.boxes_xyxy for one in found.values()]))).tolist()

    known = np.array([meaning[word] is not None for word in words], bool)
    p = np.zeros(len(words))
    names = [str(meaning[words[row]]) for row in np.flatnonzero(known)]
    if names:
        p[known] = calibrate(member, names, scores[known])
    kept = known & (np.maximum(p, scores) >= LEAST_STORED)

    ids = list(found)
    fields = {one: labels_field(fingerprint) for one in ids}
    for row in np.flatnonzero(kept):
        box = raw_detection(
            str(meaning[words[row]]),
            boxes[row],
            confidence=float(p[row]),
            score=float(scores[row]),
            raw_label=words[row],
        )
        fields[ids[owner[row]]]["detections"].append(box)
    return fields, dropped


def consensus_fields(
    clusters: Clusters,
    *,
    fingerprint: str,
    hardness: FloatArray | None = None,
    sizes: Sizes | None = None,
) -> list[Document]:
    """Return the label field of the fused boxes, one for each of the n images.

    Args:
        clusters: The objects that the ensemble sees.
        fingerprint: The hash of all that decides on them.
        hardness: h_k of each cluster, shape (K,), in [0, 1]; None before it was scored.
        sizes: Distance and size of each cluster; None where no depth is known.
    """
    fields = [labels_field(fingerprint) for _ in range(clusters.n_images)]
    boxes = xyxy_to_xywh(inside(clusters.boxes_xyxy)).tolist()
    spoke = ~np.isnan(clusters.member_boxes[..., 0])
    for k, image in enumerate(clusters.image):
        box = raw_detection(
            clusters.classes[clusters.class_id[k]],
            boxes[k],
            confidence=float(clusters.p_fused[k]),
            votes=int(clusters.votes[k]),
            agreement=float(clusters.agreement[k]),
            members=[clusters.members[m] for m in np.flatnonzero(spoke[k])],
            hardness=None if hardness is None else scalar(hardness[k]),
            **({} if sizes is None else _measured(sizes, k)),
        )
        fields[int(image)]["detections"].append(box)
    return fields


def _measured(sizes: Sizes, k: int) -> Document:
    if np.isnan(sizes.distance_m[k]):
        return {}
    return {
        "distance_m": float(sizes.distance_m[k]),
        "height_m": scalar(sizes.height_m[k]),
        "plausible": bool(sizes.plausible[k]),
    }


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


def labels_field(fingerprint: str) -> Document:
    """Return a label field without boxes: "ran, found nothing"."""
    return {"_cls": "Detections", "detections": [], FINGERPRINT: fingerprint}


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


def _joined(parts: Sequence[FloatArray]) -> FloatArray:
    return np.concatenate([np.zeros((0, *parts[0].shape[1:])), *parts]) if parts else np.zeros(0)
