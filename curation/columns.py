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
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cascade.predictions import Detections, FloatArray, IntArray
from cascade.taxonomy import Taxonomy
from cascade.votes import Votes
from curation import convert, fields
from curation.collection import expect_fields, ids_and_paths, read_documents
from curation.errors import StoreError

logger = logging.getLogger(__name__)

_NO_CONFIDENCE = "(no confidence)"


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


def missing(samples: Any, label_field: str, fingerprint: str) -> list[str]:
    """Return the ids of the samples whose label field does not bear the fingerprint.

    Those on which a member failed are among them: it may succeed now.
    """
    expect_fields(samples, [label_field])
    path = f"{label_field}.{fields.FINGERPRINT}"
    return list(samples.match({path: {"$ne": fingerprint}}).values("id"))


def read_votes(
    samples: Any,
    members: Sequence[str],
    *,
    classes: Taxonomy,
    confidence: Literal["confidence", "score"] = "confidence",
) -> VotesRead:
    """Return what the members say about the samples.

    Any Detections field of a dataset is a member, whoever wrote it. Boxes whose label means
    no class, or that bear no confidence, are left out and counted.

    Args:
        samples: The dataset, or a view of it.
        members: The label fields.
        classes: What the labels mean.
        confidence: `confidence` for calibrated probabilities, `score` for raw scores.

    Raises:
        StoreError: A field is absent, holds no Detections, or no confidences in [0, 1].
    """
    require_detections(samples, members)
    ids, _ = ids_and_paths(samples)
    ran = np.zeros((len(ids), len(members)), bool)
    place: list[tuple[int, int]] = []
    labels: list[str] = []
    p: list[float | None] = []
    boxes: list[list[float]] = []
    wanted = ("label", "bounding_box", confidence)
    projection = {f"{m}.detections.{one}": 1 for m in members for one in wanted}
    projection |= {f"{m}._cls": 1 for m in members}
    for i, row in read_documents(samples, ids, projection):
        for m, name in enumerate(members):
            if row.get(name) is None:
                continue
            ran[i, m] = True
            found = boxes_of(row[name])
            place += [(i, m)] * len(found)
            labels += [one["label"] for one in found]
            p += [one.get(confidence) for one in found]
            boxes += [one["bounding_box"] for one in found]
    votes, unknown = _votes(place, labels, p, boxes, ran, members, classes)
    return VotesRead(ids=tuple(ids), votes=votes, unknown_labels=unknown)


def read_detections(
    samples: Any,
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
        found[i], left_out = convert.from_raw(row[label_field], classes.names, meaning, score=score)
        dropped += left_out
    if lacking and absent == "refuse":
        raise StoreError(
            f"{lacking} of {len(ids)} samples have no {label_field!r}: not run, or not labeled. "
            f"Restrict the samples with `.exists({label_field!r})`."
        )
    if dropped:
        logger.warning("%s: boxes of unknown label left out: %s", label_field, dict(dropped))
    return found


def read_columns(samples: Any, names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the values of fields, and of `id`, in the order of `ids_and_paths`.

    A field that the dataset does not have is none for every sample.
    """
    known = [name for name in names if samples.get_field(name) is not None]
    keys = ["filepath", "id", *known]
    rows = sorted(zip(*samples.values(keys), strict=True), key=lambda row: row[:2])
    columns = {name: [row[i] for row in rows] for i, name in enumerate(keys)}
    return {name: columns.get(name) or [None] * len(rows) for name in ("id", *names)}


def failures(samples: Any) -> list[dict[str, Any]]:
    """Return every failure on record: sample, filepath, stage, member, error, message."""
    ids, paths = ids_and_paths(samples)
    return [
        {"sample": ids[i], "filepath": paths[i]}
        | {name: one.get(name) for name in ("stage", "member", "error", "message")}
        for i, row in read_documents(samples, ids, {fields.FAILURES: 1})
        for one in row.get(fields.FAILURES) or ()
    ]


def sizes_px(samples: Any) -> NDArray[np.int64]:
    """Return height and width of each upright image, shape (n, 2), in pixels.

    From the samples' metadata; where there is none, from the head of the image file.
    """
    names = ["metadata.height", "metadata.width"]
    columns = read_columns(samples, [*names, "filepath"])
    del columns["id"]
    sizes = [
        (height, width) if height and width else _size_of(path)
        for height, width, path in zip(*columns.values(), strict=True)
    ]
    return np.array(sizes, np.int64).reshape(-1, 2)


def _votes(
    place: Sequence[tuple[int, int]],
    labels: Sequence[str],
    p: Sequence[float | None],
    boxes: Sequence[Sequence[float]],
    ran: NDArray[np.bool_],
    members: Sequence[str],
    taxonomy: Taxonomy,
) -> tuple[Votes, Counter[str]]:
    """Return the columns as votes, and how many boxes are none, by label."""
    words = sorted(set(labels))
    meaning = dict(zip(words, taxonomy.ids_of(words), strict=True))
    class_id = np.array([meaning[word] for word in labels], np.int64)
    certain = np.array([np.nan if one is None else one for one in p], np.float64)
    _expect_probabilities(certain, members)
    dropped = Counter(word for word in labels if meaning[word] < 0)
    dropped[_NO_CONFIDENCE] = int(np.isnan(certain).sum())
    kept = (class_id >= 0) & ~np.isnan(certain)
    where: IntArray = np.array(place, np.int64).reshape(-1, 2)
    corners = convert.inside(convert.xywh_to_xyxy(np.array(boxes, np.float64)))
    votes = Votes(
        image=where[kept, 0],
        member=where[kept, 1],
        class_id=class_id[kept],
        p=certain[kept],
        boxes_xyxy=corners[kept],
        ran=ran,
        members=tuple(members),
        classes=taxonomy.names,
    )
    return votes, +dropped


def boxes_of(label: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the raw boxes of a raw label field; none where there is no field."""
    return list((label or {}).get("detections") or [])


def _size_of(path: str) -> tuple[int, int]:
    """Return height and width of an image file, upright, from its head."""
    with Image.open(path) as image:
        turned = image.getexif().get(0x0112) in (5, 6, 7, 8)
        return (image.width, image.height) if turned else (image.height, image.width)


def require_detections(samples: Any, names: Sequence[str]) -> None:
    """Refuse names that are no fields, or fields that hold no boxes.

    Raises:
        StoreError: It says which, and the nearest field.
    """
    import fiftyone as fo

    expect_fields(samples, names)
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
