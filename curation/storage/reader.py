"""Reading a dataset as columns: votes, boxes, values, failures.

Raw documents are read with a projection, never as label objects, which cost ten times as
much. Samples are a FiftyOne dataset or a view of one; whatever is read comes in the order of
`ids_and_paths`.
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
from curation.storage.box_columns import BoxColumns, boxes_of
from curation.storage.collection import chunks, ids_and_paths, read_documents, require_fields

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

__all__ = [
    "VotesRead",
    "boxes_of",
    "read_failures",
    "used_labels",
    "read_columns",
    "read_detections",
    "read_votes",
    "require_detections",
    "sizes_px",
]

logger = logging.getLogger(__name__)

_NO_LABEL, _NO_CONFIDENCE, _NO_BOX = "(no label)", "(no confidence)", "(no box)"


@dataclass(frozen=True, eq=False)
class VotesRead:
    """What members say about n samples, and what of it could not be read.

    Attributes:
        ids: The sample of each image, n of them.
        votes: Box by box.
        unknown_labels: How many boxes were left out, by the label that means no class.
    """

    ids: tuple[str, ...]
    votes: Votes
    unknown_labels: Mapping[str, int]

    @property
    def competent(self) -> NDArray[np.bool_]:
        """Which classes each member uses here, shape (M, C): all that a field tells of it."""
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
) -> VotesRead:
    """Return what the members say about the samples.

    Any Detections field of a dataset is a member, whoever wrote it. Boxes whose label means
    no class, or that bear no confidence or no place, are left out and counted.

    Args:
        samples: The dataset, or a view of it.
        members: The label fields.
        classes: What the labels mean.
        confidence: `confidence` for calibrated probabilities, `score` for raw scores.
        ids: Which of the samples, in this order; all, in that of `ids_and_paths`, where None.

    Raises:
        StoreError: A field is absent, holds no Detections, or no confidences in [0, 1].
    """
    require_detections(samples, members)
    found = list(ids_and_paths(samples)[0] if ids is None else ids)
    columns = box_columns.read(samples, found, members, [confidence])
    votes, unknown = _votes(columns, members, classes)
    return VotesRead(ids=tuple(found), votes=votes, unknown_labels=unknown)


def used_labels(samples: SampleCollection, members: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the labels that each label field uses, in the order in which they are met."""
    require_detections(samples, members)
    ids, _ = ids_and_paths(samples)
    used: dict[str, dict[str, None]] = {name: {} for name in members}
    for part in chunks(ids):
        found = box_columns.read(samples, part, members, [])
        pairs = np.unique(found.member * len(found.labels) + found.label_id)
        for m, label in zip(*np.divmod(pairs, max(len(found.labels), 1)), strict=True):
            used[members[m]][found.labels[label]] = None
    return {name: tuple(words) for name, words in used.items()}


def read_detections(
    samples: SampleCollection,
    label_field: str,
    classes: Taxonomy,
    *,
    score: Literal["confidence", "score"] = "confidence",
    absent: Literal["refuse", "empty"] = "refuse",
) -> list[Detections]:
    """Return the boxes of one label field, one value per sample in order of `ids_and_paths`.

    Args:
        samples: The dataset, or a view of it.
        label_field: Ground truth, or predictions.
        classes: What the labels mean; boxes of other labels are left out, counted in the log.
        score: What becomes the score; a box without it (ground truth) gets 1.
        absent: What to do with a sample that has no such labels: not run, or not labeled.

    Raises:
        StoreError: The field does not exist, or a sample has none and `absent` is `refuse`.
    """
    require_detections(samples, [label_field])
    ids, _ = ids_and_paths(samples)
    meaning = _Meaning(classes)
    found = [Detections.empty(classes.names)] * len(ids)
    dropped: Counter[str] = Counter()
    lacking = 0
    for i, row in read_documents(samples, ids, {label_field: 1}):
        if row.get(label_field) is None:
            lacking += 1
            continue
        found[i], left_out = conversions.from_raw(
            row[label_field], classes.names, meaning, score=score
        )
        dropped += left_out
    if lacking and absent == "refuse":
        raise StoreError(
            f"{lacking} of {len(ids)} samples have no {label_field!r}: not run, or not labeled. "
            f"Restrict the samples with `.exists({label_field!r})`."
        )
    if dropped:
        logger.warning("%s: boxes of unknown label left out: %s", label_field, dict(dropped))
    return found


def read_columns(samples: SampleCollection, names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the values of fields, and of `id`, in the order of `ids_and_paths`.

    A field that the dataset does not have is none for every sample.
    """
    known = [name for name in names if samples.get_field(name) is not None]
    keys = ["filepath", "id", *known]
    rows = sorted(zip(*samples.values(keys), strict=True), key=lambda row: row[:2])
    columns = {name: [row[i] for row in rows] for i, name in enumerate(keys)}
    return {name: columns.get(name) or [None] * len(rows) for name in ("id", *names)}


def read_failures(samples: SampleCollection) -> list[dict[str, Any]]:
    """Return every failure on record: sample, filepath, stage, member, error, message."""
    ids, paths = ids_and_paths(samples)
    return [
        {"sample": ids[i], "filepath": paths[i]}
        | {name: one.get(name) for name in ("stage", "member", "error", "message")}
        for i, row in read_documents(samples, ids, {schema.FAILURES: 1})
        for one in row.get(schema.FAILURES) or ()
    ]


def sizes_px(samples: SampleCollection, ids: Sequence[str] | None = None) -> NDArray[np.int64]:
    """Return height and width of each upright image, shape (n, 2), in pixels.

    From the samples' metadata; where there is none, from the head of the image file.

    Args:
        samples: The dataset, or a view of it.
        ids: Which of the samples, in this order; all, in that of `ids_and_paths`, where None.
    """
    found = list(ids_and_paths(samples)[0] if ids is None else ids)
    sizes = np.zeros((len(found), 2), np.int64)
    wanted = {"metadata.height": 1, "metadata.width": 1, "filepath": 1}
    for i, row in read_documents(samples, found, wanted):
        known = row.get("metadata") or {}
        height, width = known.get("height"), known.get("width")
        sizes[i] = (height, width) if height and width else _size_of(row["filepath"])
    return sizes


def _votes(
    columns: BoxColumns, members: Sequence[str], taxonomy: Taxonomy
) -> tuple[Votes, Counter[str]]:
    """Return the columns as votes, and how many boxes are none, by label."""
    p = columns.numbers[:, 0]
    _expect_probabilities(p, members)
    meaning: IntArray = np.array([*taxonomy.ids_of(columns.labels), -1], np.int64)
    class_id = meaning[columns.label_id]
    unsure, nowhere = np.isnan(p), np.isnan(columns.boxes_xywh).any(axis=1)
    times = np.bincount(columns.label_id[class_id < 0] % len(meaning), minlength=len(meaning))
    dropped = Counter(
        {word: int(n) for word, n in zip([*columns.labels, _NO_LABEL], times, strict=True)}
    )
    dropped[_NO_CONFIDENCE], dropped[_NO_BOX] = int(unsure.sum()), int(nowhere.sum())
    kept = (class_id >= 0) & ~unsure & ~nowhere
    votes = Votes(
        image=columns.sample[kept],
        member=columns.member[kept],
        class_id=class_id[kept],
        p=p[kept],
        boxes_xyxy=conversions.inside(conversions.xywh_to_xyxy(columns.boxes_xywh[kept])),
        ran=columns.ran,
        members=tuple(members),
        classes=taxonomy.names,
    )
    return votes, +dropped


def _size_of(path: str) -> tuple[int, int]:
    """Return height and width of an image file, upright, from its head."""
    with open_image(path) as image:
        turned = image.getexif().get(0x0112) in (5, 6, 7, 8)
        return (image.width, image.height) if turned else (image.height, image.width)


def require_detections(samples: SampleCollection, names: Sequence[str]) -> None:
    """Refuse names that are no fields, or fields that hold no boxes.

    Raises:
        StoreError: It says which, and the nearest field.
    """
    import fiftyone as fo

    require_fields(samples, names)
    for name in names:
        kind = getattr(samples.get_field(name), "document_type", None)
        if kind is not fo.Detections:
            raise StoreError(
                f"The field {name!r} must hold Detections, got "
                f"{kind.__name__ if kind else 'no labels at all'}."
            )


def _expect_probabilities(p: FloatArray, members: Sequence[str]) -> None:
    if len(p) and np.isnan(p).all():
        raise StoreError(
            f"No box of {', '.join(members)} bears a confidence. Predictions must; "
            "is one of them ground truth?"
        )
    if len(p) and (np.nanmin(p) < 0 or np.nanmax(p) > 1):
        raise StoreError(
            f"Confidences of {', '.join(members)} must lie in [0, 1], "
            f"got {np.nanmin(p):.4g}..{np.nanmax(p):.4g}."
        )


class _Meaning(dict[str, str | None]):
    """The class that each label means, looked up once."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        super().__init__()
        self._taxonomy = taxonomy

    def __missing__(self, label: str) -> str | None:
        self[label] = self._taxonomy.canonical(label)
        return self[label]
