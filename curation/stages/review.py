"""Mark the boxes of the ground truth that look wrong, so that people can look at them first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.ensemble import Ensemble
from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.errors import StageError
from curation.labeling import review as boxwise
from curation.labeling.media import require_images
from curation.labeling.review import Item, Opinion
from curation.storage import collection, conversions, reader, schema, writer

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

REVIEW = "review"  # the tag, the label field and the saved view
SCORE = "review_score"  # of a sample: that of its worst box
REASONS = "review_reasons"

_KIND, _REASON = "kind", "reason"  # attributes of the boxes


@dataclass(frozen=True)
class ReviewResult:
    """What a call did.

    Attributes:
        looked_at: Samples with ground truth and a consensus.
        boxes: Boxes that are to be reviewed.
        samples: Samples that hold them, tagged `review`.
        kinds: How many boxes of each kind.
        left_out: Boxes that look wrong, too, past the limit.
        worst: The first of them: file, label and reason.
    """

    looked_at: int
    boxes: int
    samples: int
    kinds: Mapping[str, int]
    left_out: int
    worst: tuple[str, ...]


def review(dataset: Dataset, ensemble: Ensemble, *, limit: int = 200) -> ReviewResult:
    """Tag samples `review`, write the boxes to look at, and save the view of them.

    What an earlier call wrote is replaced. Members that were trained on a wrong label may
    repeat it: then it is not found.

    Args:
        dataset: The FiftyOne dataset, on which the ensemble has predicted and fused.
        ensemble: Whose members' predictions these are.
        limit: Boxes to review at most, the surest errors first.

    Raises:
        LabelingError: The dataset is not of images.
        StageError: There is no ground truth or no consensus to compare.
    """
    require_images(dataset.name, dataset.media_type)
    if limit < 1:
        raise StageError(f"The limit must be at least 1 box, got {limit}.")
    view = _comparable(dataset)
    ids, paths = collection.ids_and_paths(view)
    found = boxwise.review(_opinions(view, ids, ensemble))
    shown = found[:limit]
    _write(dataset, ids, shown)
    return ReviewResult(
        looked_at=len(ids),
        boxes=len(shown),
        samples=len({one.image for one in shown}),
        kinds=dict(Counter(one.kind for one in shown)),
        left_out=len(found) - len(shown),
        worst=tuple(f"{paths[one.image]}: {one.label}: {one.reason}" for one in shown[:5]),
    )


def _comparable(dataset: Dataset) -> Any:
    for name, verb in ((schema.GROUND_TRUTH, "label"), (schema.CONSENSUS, "predict")):
        if dataset.get_field(name) is None or not len(dataset.exists(name)):
            raise StageError(
                f"{dataset.name!r} has no {name.replace('_', ' ')} to compare. "
                f"Run `curate {verb} {dataset.name}` first."
            )
    view = dataset.exists(schema.GROUND_TRUTH).exists(schema.CONSENSUS)
    if not len(view):
        raise StageError(
            f"No sample of {dataset.name!r} has both ground truth and a consensus. "
            f"Run `curate predict {dataset.name}` first."
        )
    return view


def _opinions(view: DatasetView, ids: Sequence[str], ensemble: Ensemble) -> list[Opinion]:
    taxonomy = ensemble.taxonomy
    truths = reader.read_detections(view, schema.GROUND_TRUTH, taxonomy)
    fused = _consensus(view, ids, taxonomy)
    read = reader.read_votes(view, ensemble.detectors, classes=taxonomy)
    able = [frozenset(ensemble.vocabulary(name)) for name in ensemble.detectors]
    votes = read.votes
    rows: list[list[list[int]]] = [[[] for _ in ensemble.detectors] for _ in ids]
    for row, (image, member) in enumerate(
        zip(votes.image.tolist(), votes.member.tolist(), strict=True)
    ):
        rows[image][member].append(row)
    everything = Detections(votes.boxes_xyxy, votes.p, votes.class_id, taxonomy.names)
    opinions = []
    for i, truth in enumerate(truths):
        ran = np.flatnonzero(votes.ran[i]).tolist()
        opinions.append(
            Opinion(
                truth=truth,
                consensus=fused[i][0],
                votes=fused[i][1],
                members=[everything[np.array(rows[i][m], np.int64)] for m in ran],
                able=[able[m] for m in ran],
            )
        )
    return opinions


def _consensus(
    view: DatasetView, ids: Sequence[str], taxonomy: Taxonomy
) -> list[tuple[Detections, np.ndarray[Any, np.dtype[np.int64]]]]:
    """Return the fused boxes of each sample, and how many members saw each."""
    found = [(Detections.empty(taxonomy.names), np.zeros(0, np.int64)) for _ in ids]
    for i, row in collection.read_documents(view, ids, {schema.CONSENSUS: 1}):
        stored = [
            one
            for one in row[schema.CONSENSUS].get("detections") or ()
            if one["label"] in taxonomy.names
        ]
        meaning = {name: name for name in taxonomy.names}
        boxes, _ = conversions.from_raw({"detections": stored}, taxonomy.names, meaning)
        found[i] = (boxes, np.array([one.get("votes") or 0 for one in stored], np.int64))
    return found


def _write(dataset: Dataset, ids: Sequence[str], items: Sequence[Item]) -> None:
    _declare(dataset)
    before = dataset.match_tags(REVIEW)
    update: dict[str, dict[str, Any]] = {
        one: {
            "tags": [tag for tag in tags if tag != REVIEW],
            REVIEW: None,
            SCORE: None,
            REASONS: None,
        }
        for one, tags in zip(*before.values(["id", "tags"]), strict=True)
    }
    collection.write_documents(dataset, update)
    by_sample: dict[str, list[Item]] = {}
    for item in items:
        by_sample.setdefault(ids[item.image], []).append(item)
    collection.write_documents(
        dataset,
        {
            one: {
                REVIEW: {"_cls": "Detections", "detections": [_raw(item) for item in found]},
                SCORE: found[0].score,
                REASONS: [f"{item.kind}: {item.reason}" for item in found],
            }
            for one, found in by_sample.items()
        },
    )
    writer.add_tags(dataset, {one: [REVIEW] for one in by_sample})
    dataset.save_view(
        REVIEW, dataset.match_tags(REVIEW).sort_by(SCORE, reverse=True), overwrite=True
    )


def _declare(dataset: Dataset) -> None:
    import fiftyone as fo

    known = dataset.get_field_schema(flat=True)
    if REVIEW not in known:
        dataset.add_sample_field(
            REVIEW, fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections,
            description="Boxes that look wrong; confidence is how sure that is",
        )  # fmt: skip
    for path in (f"{REVIEW}.detections.{_KIND}", f"{REVIEW}.detections.{_REASON}"):
        if path not in known:
            dataset.add_sample_field(path, fo.StringField)
    if SCORE not in known:
        dataset.add_sample_field(SCORE, fo.FloatField, description="Of its worst box, in [0, 1]")
    if REASONS not in known:
        dataset.add_sample_field(REASONS, fo.ListField, subfield=fo.StringField)


def _raw(item: Item) -> dict[str, Any]:
    box = conversions.xyxy_to_xywh(np.array([item.box_xyxy]))[0].tolist()
    attributes = {_KIND: item.kind, _REASON: item.reason}
    return conversions.raw_detection(item.label, box, confidence=item.score, **attributes)
