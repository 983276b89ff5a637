"""Mark suspicious boxes of the ground truth for review by people."""

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
from curation.labeling.protocol import require_images
from curation.labeling.review import ImageEvidence, ReviewItem, find_items
from curation.storage import collection, conversions, reader, schema, writer

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

REVIEW = "review"  # tag, label field and saved view
SCORE = "review_score"  # score of the sample's worst box
REASONS = "review_reasons"

_KIND, _REASON = "kind", "reason"  # attributes of the boxes


@dataclass(frozen=True)
class ReviewResult:
    """Outcome of a call of `review`.

    Attributes:
        looked_at: Samples with ground truth and a consensus.
        boxes: Boxes to review.
        samples: Samples with such boxes, tagged `review`.
        kinds: Boxes of each kind of error.
        left_out: Suspicious boxes beyond the limit.
        worst: The first boxes: file, label and reason.
    """

    looked_at: int
    boxes: int
    samples: int
    kinds: Mapping[str, int]
    left_out: int
    worst: tuple[str, ...]


def review(dataset: Dataset, ensemble: Ensemble, *, limit: int = 200) -> ReviewResult:
    """Tag samples `review`, and write the suspicious boxes and a saved view of them.

    Replaces the output of an earlier call. Cannot find a wrong label that the members were trained
    on and repeat.

    Args:
        dataset: A FiftyOne dataset with predictions and consensus of the ensemble.
        ensemble: The ensemble that predicted.
        limit: Maximal number of boxes, most confident errors first.

    Raises:
        LabelingError: The dataset does not hold images.
        StageError: Ground truth or consensus is missing.
    """
    require_images(dataset.name, dataset.media_type)
    if limit < 1:
        raise StageError(f"The limit must be at least 1 box, got {limit}.")
    view = _comparable(dataset)
    ids, paths = collection.ids_and_paths(view)
    items = find_items(_evidence(view, ids, ensemble))
    shown = items[:limit]
    _write(dataset, ids, shown)
    return ReviewResult(
        looked_at=len(ids),
        boxes=len(shown),
        samples=len({item.image for item in shown}),
        kinds=dict(Counter(item.kind for item in shown)),
        left_out=len(items) - len(shown),
        worst=tuple(f"{paths[item.image]}: {item.label}: {item.reason}" for item in shown[:5]),
    )


def _comparable(dataset: Dataset) -> DatasetView:
    for name, verb in ((schema.GROUND_TRUTH, "label"), (schema.CONSENSUS, "predict")):
        if dataset.get_field(name) is None or not len(dataset.exists(name)):
            raise StageError(
                f"{dataset.name!r} has no {name.replace('_', ' ')} to compare. "
                f"Run `curate {verb} {dataset.name}` first."
            )
    view = dataset.exists(schema.GROUND_TRUTH).exists(schema.CONSENSUS)
    if not len(view):
        raise StageError(
            f"No sample in {dataset.name!r} has both ground truth and a consensus. "
            f"Run `curate predict {dataset.name}` first."
        )
    return view


def _evidence(view: DatasetView, ids: Sequence[str], ensemble: Ensemble) -> list[ImageEvidence]:
    taxonomy = ensemble.taxonomy
    truths = reader.read_detections(view, schema.GROUND_TRUTH, taxonomy)
    fused = _consensus(view, ids, taxonomy)
    votes = reader.read_votes(view, ensemble.detectors, classes=taxonomy).votes
    vocabularies = [frozenset(ensemble.vocabulary(name)) for name in ensemble.detectors]
    rows: list[list[list[int]]] = [[[] for _ in ensemble.detectors] for _ in ids]
    for row, (image, member) in enumerate(
        zip(votes.image.tolist(), votes.member.tolist(), strict=True)
    ):
        rows[image][member].append(row)
    boxes = Detections(votes.boxes_xyxy, votes.p, votes.class_id, taxonomy.names)
    evidence = []
    for i, truth in enumerate(truths):
        ran = np.flatnonzero(votes.ran[i]).tolist()
        evidence.append(
            ImageEvidence(
                truth=truth,
                consensus=fused[i][0],
                votes=fused[i][1],
                members=[boxes[np.array(rows[i][m], np.int64)] for m in ran],
                vocabularies=[vocabularies[m] for m in ran],
            )
        )
    return evidence


def _consensus(
    view: DatasetView, ids: Sequence[str], taxonomy: Taxonomy
) -> list[tuple[Detections, np.ndarray[Any, np.dtype[np.int64]]]]:
    """Return the fused boxes of each sample, and the number of members behind each box."""
    fused = [(Detections.empty(taxonomy.names), np.zeros(0, np.int64)) for _ in ids]
    for i, row in collection.read_documents(view, ids, {schema.CONSENSUS: 1}):
        stored = [
            box
            for box in row[schema.CONSENSUS].get("detections") or ()
            if box["label"] in taxonomy.names
        ]
        meaning = {name: name for name in taxonomy.names}
        boxes, _ = conversions.from_raw({"detections": stored}, taxonomy.names, meaning)
        fused[i] = (boxes, np.array([box.get("votes") or 0 for box in stored], np.int64))
    return fused


def _write(dataset: Dataset, ids: Sequence[str], items: Sequence[ReviewItem]) -> None:
    _declare(dataset)
    before = dataset.match_tags(REVIEW)
    update: dict[str, dict[str, Any]] = {
        sample_id: {
            "tags": [tag for tag in tags if tag != REVIEW],
            REVIEW: None,
            SCORE: None,
            REASONS: None,
        }
        for sample_id, tags in zip(*before.values(["id", "tags"]), strict=True)
    }
    collection.write_documents(dataset, update)
    by_sample: dict[str, list[ReviewItem]] = {}
    for item in items:
        by_sample.setdefault(ids[item.image], []).append(item)
    collection.write_documents(
        dataset,
        {
            sample_id: {
                REVIEW: {"_cls": "Detections", "detections": [_raw(item) for item in worst_first]},
                SCORE: worst_first[0].score,
                REASONS: [f"{item.kind}: {item.reason}" for item in worst_first],
            }
            for sample_id, worst_first in by_sample.items()
        },
    )
    writer.add_tags(dataset, {sample_id: [REVIEW] for sample_id in by_sample})
    dataset.save_view(
        REVIEW, dataset.match_tags(REVIEW).sort_by(SCORE, reverse=True), overwrite=True
    )


def _declare(dataset: Dataset) -> None:
    import fiftyone as fo

    existing = dataset.get_field_schema(flat=True)
    if REVIEW not in existing:
        dataset.add_sample_field(
            REVIEW, fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections,
            description="Boxes that look wrong; confidence is how sure that is",
        )  # fmt: skip
    for path in (f"{REVIEW}.detections.{_KIND}", f"{REVIEW}.detections.{_REASON}"):
        if path not in existing:
            dataset.add_sample_field(path, fo.StringField)
    if SCORE not in existing:
        dataset.add_sample_field(SCORE, fo.FloatField, description="Of its worst box, in [0, 1]")
    if REASONS not in existing:
        dataset.add_sample_field(REASONS, fo.ListField, subfield=fo.StringField)


def _raw(item: ReviewItem) -> dict[str, Any]:
    box = conversions.xyxy_to_xywh(np.array([item.box_xyxy]))[0].tolist()
    attributes = {_KIND: item.kind, _REASON: item.reason}
    return conversions.raw_detection(item.label, box, confidence=item.score, **attributes)
