"""Bulk reading of votes, boxes, values and failures from a dataset.

Raw documents are read with a projection; reading label objects takes ten times as long.
Samples are a FiftyOne dataset or a view. Results are in the order of `ids_and_paths`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray, IntArray
from cascade.fusion.votes import Votes
from cascade.imaging.pillow import open_image
from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.errors import StoreError
from curation.storage import box_columns, conversions, schema
from curation.storage.box_columns import BoxColumns
from curation.storage.collection import chunks, ids_and_paths, read_documents, require_fields

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

logger = logging.getLogger(__name__)

_NO_LABEL, _NO_CONFIDENCE, _NO_BOX = "(no label)", "(no confidence)", "(no box)"


@dataclass(frozen=True, eq=False)
class StoredVotes:
    """The votes of members on n samples.

    Attributes:
        ids: Sample id of each image, length n.
        votes: The boxes of all members.
        unknown_labels: Number of left-out boxes, by label.
    """

    ids: tuple[str, ...]
    votes: Votes
    unknown_labels: Mapping[str, int]

    @property
    def competent(self) -> NDArray[np.bool_]:
        """The classes that each member uses on these samples, shape (M, C)."""
        used = np.zeros((len(self.votes.members), len(self.votes.classes)), bool)
        used[self.votes.member, self.votes.class_id] = True
        return used


def read_votes(
    samples: SampleCollection,
    members: Sequence[str],
    *,
    classes: Taxonomy,
    confidence: Literal["confidence", "score"] = "confidence",
    ids: Sequence[str] | None = None,
) -> StoredVotes:
    """Return the votes of members on samples.

    Any field of type Detections can be a member. Boxes with an unknown label, or without confidence
    or position, are left out and counted.

    Args:
        samples: The dataset, or a view of it.
        members: Label fields.
        classes: Maps labels to classes.
        confidence: `confidence` for calibrated probabilities, `score` for raw scores.
        ids: Sample ids, in this order; all samples by default.

    Raises:
        StoreError: A field does not exist, is not of type Detections, or has confidences
            outside [0, 1].
    """
    require_detections(samples, members)
    ids = list(ids_and_paths(samples)[0] if ids is None else ids)
    columns = box_columns.read_boxes(samples, ids, members, [confidence])
    votes, unknown = _votes(columns, members, classes)
    return StoredVotes(ids=tuple(ids), votes=votes, unknown_labels=unknown)


def used_labels(samples: SampleCollection, members: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the labels in each label field, in order of first use."""
    require_detections(samples, members)
    ids, _ = ids_and_paths(samples)
    used: dict[str, dict[str, None]] = {name: {} for name in members}
    for chunk in chunks(ids):
        columns = box_columns.read_boxes(samples, chunk, members, [])
        n_labels = len(columns.labels)
        pairs = np.unique(columns.member * n_labels + columns.label_id)
        for m, label in zip(*np.divmod(pairs, max(n_labels, 1)), strict=True):
            used[members[m]][columns.labels[label]] = None
    return {name: tuple(labels) for name, labels in used.items()}


def read_detections(
    samples: SampleCollection,
    label_field: str,
    classes: Taxonomy,
    *,
    score: Literal["confidence", "score"] = "confidence",
    absent: Literal["refuse", "empty"] = "refuse",
) -> list[Detections]:
    """Return the boxes of a label field, one value per sample in order of `ids_and_paths`.

    Args:
        samples: The dataset, or a view of it.
        label_field: Ground truth or predictions.
        classes: Maps labels to classes; boxes with unknown labels are left out and logged.
        score: Attribute that becomes the score; 1 for a box without it, as in ground truth.
        absent: Handling of samples without the label: raise an error, or return no boxes.

    Raises:
        StoreError: The field does not exist, or a sample has no label and `absent` is `refuse`.
    """
    require_detections(samples, [label_field])
    ids, _ = ids_and_paths(samples)
    meaning = _ClassOfLabel(classes)
    detections = [Detections.empty(classes.names)] * len(ids)
    dropped: Counter[str] = Counter()
    n_absent = 0
    for i, document in read_documents(samples, ids, {label_field: 1}):
        if document.get(label_field) is None:
            n_absent += 1
            continue
        detections[i], unknown = conversions.from_raw(
            document[label_field], classes.names, meaning, score=score
        )
        dropped += unknown
    if n_absent and absent == "refuse":
        raise StoreError(
            f"{n_absent} of {len(ids)} samples have no {label_field!r}: they have not been "
            f"predicted or labeled. Restrict the samples with `.exists({label_field!r})`."
        )
    if dropped:
        logger.warning("%s: left out boxes with unknown labels: %s", label_field, dict(dropped))
    return detections


def read_columns(samples: SampleCollection, names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the values of fields, and of `id`, in the order of `ids_and_paths`.

    The values of a field that does not exist are None.
    """
    keys = ["filepath", "id", *(name for name in names if samples.get_field(name) is not None)]
    rows = sorted(zip(*samples.values(keys), strict=True), key=lambda row: row[:2])
    columns = {name: [row[i] for row in rows] for i, name in enumerate(keys)}
    return {name: columns.get(name) or [None] * len(rows) for name in ("id", *names)}


def read_failures(samples: SampleCollection) -> list[dict[str, Any]]:
    """Return the recorded failures: sample, filepath, stage, member, error, message."""
    ids, paths = ids_and_paths(samples)
    return [
        {"sample": ids[i], "filepath": paths[i]}
        | {name: failure.get(name) for name in ("stage", "member", "error", "message")}
        for i, document in read_documents(samples, ids, {schema.FAILURES: 1})
        for failure in document.get(schema.FAILURES) or ()
    ]


def sizes_px(samples: SampleCollection, ids: Sequence[str] | None = None) -> NDArray[np.int64]:
    """Return height and width of each upright image in pixels, shape (n, 2).

    Read from the metadata of the sample, or else from the header of the image file.

    Args:
        samples: The dataset, or a view of it.
        ids: Sample ids, in this order; all samples by default.
    """
    ids = list(ids_and_paths(samples)[0] if ids is None else ids)
    sizes = np.zeros((len(ids), 2), np.int64)
    projection = {"metadata.height": 1, "metadata.width": 1, "filepath": 1}
    for i, document in read_documents(samples, ids, projection):
        metadata = document.get("metadata") or {}
        height, width = metadata.get("height"), metadata.get("width")
        sizes[i] = (height, width) if height and width else _file_size_px(document["filepath"])
    return sizes


def require_detections(samples: SampleCollection, names: Sequence[str]) -> None:
    """Raise StoreError for a name without a field, or a field of another type than Detections."""
    import fiftyone as fo

    require_fields(samples, names)
    for name in names:
        kind = getattr(samples.get_field(name), "document_type", None)
        if kind is not fo.Detections:
            raise StoreError(
                f"The field {name!r} must hold Detections, got "
                f"{kind.__name__ if kind else 'no labels'}."
            )


def _votes(
    columns: BoxColumns, members: Sequence[str], taxonomy: Taxonomy
) -> tuple[Votes, Counter[str]]:
    """Return the columns as votes, and the number of left-out boxes by label."""
    p = columns.numbers[:, 0]
    _require_probabilities(p, members)
    class_of_label: IntArray = np.array([*taxonomy.ids_of(columns.labels), -1], np.int64)
    class_id = class_of_label[columns.label_id]
    no_confidence, no_box = np.isnan(p), np.isnan(columns.boxes_xywh).any(axis=1)
    n_labels = len(class_of_label)
    counts = np.bincount(columns.label_id[class_id < 0] % n_labels, minlength=n_labels)
    dropped = Counter(
        {label: int(n) for label, n in zip([*columns.labels, _NO_LABEL], counts, strict=True)}
    )
    dropped[_NO_CONFIDENCE], dropped[_NO_BOX] = int(no_confidence.sum()), int(no_box.sum())
    valid = (class_id >= 0) & ~no_confidence & ~no_box
    votes = Votes(
        image=columns.sample[valid],
        member=columns.member[valid],
        class_id=class_id[valid],
        p=p[valid],
        boxes_xyxy=conversions.inside(conversions.xywh_to_xyxy(columns.boxes_xywh[valid])),
        ran=columns.ran,
        members=tuple(members),
        classes=taxonomy.names,
    )
    return votes, +dropped


def _file_size_px(path: str) -> tuple[int, int]:
    """Return height and width of the upright image, from the header of its file."""
    with open_image(path) as image:
        rotated = image.getexif().get(0x0112) in (5, 6, 7, 8)
        return (image.width, image.height) if rotated else (image.height, image.width)


def _require_probabilities(p: FloatArray, members: Sequence[str]) -> None:
    if len(p) and np.isnan(p).all():
        raise StoreError(
            f"No box of {', '.join(members)} has a confidence. Predictions must have them; "
            "is one of the fields ground truth?"
        )
    if len(p) and (np.nanmin(p) < 0 or np.nanmax(p) > 1):
        raise StoreError(
            f"Confidences of {', '.join(members)} must be in [0, 1], "
            f"got {np.nanmin(p):.4g}..{np.nanmax(p):.4g}."
        )


class _ClassOfLabel(dict[str, str | None]):
    """Cache of the class of each label."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        super().__init__()
        self._taxonomy = taxonomy

    def __missing__(self, label: str) -> str | None:
        self[label] = self._taxonomy.canonical(label)
        return self[label]
