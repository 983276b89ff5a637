"""Bulk, resumable writes of predictions to a FiftyOne dataset, with provenance.

Each label field stores the fingerprint of its member, written in the same step as its labels;
an interrupted run resumes with `collection.missing_ids`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.arrays import FloatArray
from cascade.fusion.calibration import Calibration
from cascade.fusion.consensus import Clusters, Decisions
from cascade.fusion.votes import Votes
from cascade.geometry import masks
from cascade.geometry.sizes import Sizes
from cascade.predictions import Answer, DepthMap, Detections, Masks, Prediction
from cascade.runtime.cpu import cores
from cascade.taxonomy import Taxonomy
from curation.errors import StoreError
from curation.storage import (
    box_columns,
    conversions,
    deep_tier_documents,
    documents,
    schema,
)
from curation.storage.artifacts import ArtifactFolder
from curation.storage.box_columns import boxes_of
from curation.storage.bson.box_documents import label_fields
from curation.storage.collection import (
    CHUNK,
    chunks,
    ids_and_paths,
    index_fingerprints,
    read_documents,
    require_fields,
    update_documents,
    write_documents,
)
from curation.storage.documents import Document, Failure

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection


@dataclass
class Written:
    """What a write did.

    Attributes:
        samples: Samples that were written.
        boxes: Boxes that they hold.
        failures: Predictions that failed, now on record.
        dropped: How many boxes had a label that means no class, by label.
    """

    samples: int = 0
    boxes: int = 0
    failures: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


def write_members(
    samples: SampleCollection,
    results: Mapping[str, Mapping[str, Detections | Failure]],
    *,
    taxonomy: Taxonomy,
    fingerprints: Mapping[str, str],
    calibration: Calibration,
    stage: str = "predict",
) -> Written:
    """Store what members said, `{sample id: {member: Detections or failure}}`.

    Where a member failed, its field is emptied (what it held came from an earlier run) and
    the failure is put on record; where it succeeds, an earlier failure is taken off. What the
    ensemble made of the sample before is taken back: it rests on what members no longer say.

    Args:
        samples: The dataset, or a view of it.
        results: What to store; members that a sample does not name keep what they have.
        taxonomy: What the members' words mean.
        fingerprints: Of each member.
        calibration: Turns scores into probabilities.
        stage: Whose failures these are.

    Raises:
        StoreError: A field is not declared, or the database did not take the write.
        DatasetError: A sample does not exist.
    """
    require_fields(samples, [*fingerprints, schema.CONSENSUS])
    index_fingerprints(samples, [*fingerprints, schema.CONSENSUS])
    written = Written()
    for ids in chunks(list(results)):
        update: dict[str, Document] = {one: {} for one in ids}
        for member, fingerprint in fingerprints.items():
            found = {one: results[one][member] for one in ids if member in results[one]}
            said = {i: one for i, one in found.items() if isinstance(one, Detections)}
            boxes, dropped = documents.member_boxes(
                said, member=member, taxonomy=taxonomy, calibrate=calibration.apply
            )
            stored = dict(zip(said, label_fields(boxes, fingerprint), strict=True))
            for one in found:
                update[one] |= {member: stored.get(one), schema.CONSENSUS: None}
            written.boxes += len(boxes)
            written.dropped += dropped
        written.failures += _record_outcomes(samples, update, results, stage)
        written.samples += write_documents(samples, update)
    return written


def write_consensus(
    samples: SampleCollection,
    ids: Sequence[str],
    clusters: Clusters,
    decisions: Decisions,
    *,
    taxonomy: Taxonomy,
    threshold: float,
    fingerprint: str,
    further: Sequence[Mapping[str, Any]] | None = None,
    hardness: FloatArray | None = None,
    sizes: Sizes | None = None,
) -> Written:
    """Store what the ensemble says: fused boxes, the image decision, agreement and voters.

    Args:
        samples: The dataset, or a view of it.
        ids: The sample of each of the n images.
        clusters: The objects.
        decisions: The image decisions.
        taxonomy: Its decision names the field of the image decision.
        threshold: Probability from which the decision is "yes".
        fingerprint: The hash of all that decides on the consensus.
        further: Further fields of each image, `{path: value}`, written in the same step.
        hardness: h_k of each cluster, shape (K,), once it was scored.
        sizes: Distance and size of each cluster, where depth is known.
    """
    decision = taxonomy.decision.name
    require_fields(samples, [schema.CONSENSUS, decision])
    fused = documents.consensus_fields(
        clusters, fingerprint=fingerprint, hardness=hardness, sizes=sizes
    )
    update = {
        one: {
            schema.CONSENSUS: fused[i],
            decision: documents.decision_field(
                decisions, i, threshold=threshold, fingerprint=fingerprint
            ),
            schema.AGREEMENT: documents.scalar(decisions.agreement[i]),
            schema.N_VOTERS: int(decisions.n_voters[i]),
            **{
                path: documents.scalar(one) for path, one in (further[i] if further else {}).items()
            },
        }
        for i, one in enumerate(ids)
    }
    return Written(samples=write_documents(samples, update), boxes=len(clusters))


def write_deep_tiers(
    samples: SampleCollection,
    results: Mapping[str, Mapping[str, Any]],
    *,
    shelves: Mapping[str, ArtifactFolder],
    taxonomy: Taxonomy,
) -> Written:
    """Store what members of the tiers that look closer said; masks and depth go to files.

    As in `write_members`, a failure empties the field and is put on record. The consensus of a
    sample is marked as out of date: it has not heard this yet.

    Args:
        samples: The dataset, or a view of it.
        results: `{sample id: {member: Answer, Masks, DepthMap or failure}}`.
        shelves: Of each member: its fingerprint, and where its files go.
        taxonomy: What the members' words mean.

    Raises:
        StoreError: A field is not declared, a file or the database did not take the write.
    """
    require_fields(samples, [*shelves, schema.CONSENSUS])
    index_fingerprints(samples, shelves)
    written = Written()
    with ThreadPoolExecutor(cores()) as pool:  # for PNGs, which take the time
        for ids in chunks(list(results)):
            update: dict[str, Document] = {one: {} for one in ids}
            kept = {
                (one, member): pool.submit(_closer_field, said, one, shelves[member], taxonomy)
                for one in ids
                for member, said in results[one].items()
            }
            for (one, member), stored in kept.items():
                update[one][member] = stored.result()
            for one in ids:
                update[one][f"{schema.CONSENSUS}.{schema.FINGERPRINT}"] = None
            written.failures += _record_outcomes(samples, update, results, "examine")
            written.samples += write_documents(samples, update)
    return written


def _closer_field(
    said: Any, sample: str, shelf: ArtifactFolder, taxonomy: Taxonomy
) -> Document | None:
    """Return the raw field of a prediction, its files written; None for a failure."""
    if isinstance(said, Answer):
        return deep_tier_documents.answer_field(said, fingerprint=shelf.fingerprint)
    if isinstance(said, DepthMap):
        path, step = shelf.write_depth(sample, said)
        return deep_tier_documents.depth_field(
            str(path), step=step, unit=said.unit, fingerprint=shelf.fingerprint
        )
    if isinstance(said, Masks):
        extents = masks.bounding_boxes(said)
        paths = [
            str(shelf.write_mask(sample, i, said.masks[i], box)) for i, box in enumerate(extents)
        ]
        return deep_tier_documents.masks_field(
            said, extents, paths, fingerprint=shelf.fingerprint, taxonomy=taxonomy
        )
    return None


def write_ground_truth(
    samples: SampleCollection,
    truths: Mapping[str, Detections],
    *,
    labeled_round: int,
    label_field: str = schema.GROUND_TRUTH,
) -> Written:
    """Store confirmed boxes, in canonical classes, and the round whose labeling gave them."""
    require_fields(samples, [label_field])
    update = {
        one: {
            label_field: conversions.raw_detections(boxes, scored=False),
            schema.LABELED_ROUND: labeled_round,
        }
        for one, boxes in truths.items()
    }
    boxes = sum(len(one) for one in truths.values())
    return Written(samples=write_documents(samples, update), boxes=boxes)


def write_columns(
    samples: SampleCollection, ids: Sequence[str], columns: Mapping[str, Sequence[Any]]
) -> int:
    """Store one value per sample and field, and return how many samples were written.

    Args:
        samples: The dataset, or a view of it.
        ids: The samples.
        columns: Values in the order of `ids`: numbers (NaN is stored as none), text, lists.
    """
    require_fields(samples, columns)
    for name, values in columns.items():
        if len(values) != len(ids):
            raise StoreError(
                f"{name} must have one value for each of {len(ids)} samples, got {len(values)}."
            )
    written = 0
    for start in range(0, len(ids), CHUNK):
        update = {
            one: {name: documents.scalar(values[start + i]) for name, values in columns.items()}
            for i, one in enumerate(ids[start : start + CHUNK])
        }
        written += write_documents(samples, update)
    return written


def recalibrate(
    samples: SampleCollection,
    members: Sequence[str],
    calibration: Calibration,
    *,
    ids: Sequence[str] | None = None,
) -> int:
    """Refresh the stored confidences that are not what the raw scores now mean.

    Args:
        samples: The dataset, or a view of it.
        members: The label fields.
        calibration: Turns scores into confidences.
        ids: Which of the samples; all where None.

    Returns:
        How many boxes had another confidence.
    """
    changed = 0
    for chunk in chunks(ids_and_paths(samples)[0] if ids is None else ids):
        found = box_columns.read(samples, chunk, members, ["score", "confidence"])
        score, before = found.numbers.T
        scored = Votes(
            image=found.sample,
            member=found.member,
            class_id=np.maximum(found.label_id, 0),
            p=np.nan_to_num(score),
            boxes_xyxy=found.boxes_xywh,
            ran=found.ran,
            members=tuple(members),
            classes=found.labels or ("",),
        )
        other = ~np.isnan(score) & (calibration.calibrate_votes(scored).p != before)
        changed += int(other.sum())
        _rewrite(samples, [chunk[i] for i in np.unique(found.sample[other])], members, calibration)
    return changed


def _rewrite(
    samples: SampleCollection, ids: Sequence[str], members: Sequence[str], calibration: Calibration
) -> None:
    update: dict[str, Document] = {}
    for i, row in read_documents(samples, ids, dict.fromkeys(members, 1)):
        update[ids[i]] = {name: row[name] for name in members if row.get(name) is not None}
        for name, label_field in update[ids[i]].items():
            boxes = [one for one in boxes_of(label_field) if one.get("score") is not None]
            scores = np.array([one["score"] for one in boxes], np.float64)
            p = calibration.apply(name, [one["label"] for one in boxes], scores)
            for one, confidence in zip(boxes, p, strict=True):
                one["confidence"] = float(confidence)
    if update:
        write_documents(samples, update)


def write_failures(
    samples: SampleCollection,
    stage: str,
    member: str,
    failures: Mapping[str, Failure],
    *,
    cleared: Sequence[str] = (),
) -> int:
    """Put failures of a member on record, by sample, and take off those of `cleared` samples."""
    results: dict[str, Mapping[str, Failure | None]] = {one: {member: None} for one in cleared}
    results |= {one: {member: failure} for one, failure in failures.items()}
    update: dict[str, Document] = {one: {} for one in results}
    new = _record_outcomes(samples, update, results, stage)
    write_documents(samples, {one: content for one, content in update.items() if content})
    return new


def add_tags(samples: SampleCollection, tags: Mapping[str, Sequence[str]]) -> int:
    """Add tags to samples, `{sample id: tags}`, where they do not bear them; return how many."""
    return update_documents(
        samples,
        {
            one: {"$addToSet": {"tags": {"$each": list(new)}}, "$set": {}}
            for one, new in tags.items()
        },
    )


def _record_outcomes(
    samples: SampleCollection,
    update: dict[str, Document],
    results: Mapping[str, Mapping[str, Prediction | Failure | None]],
    stage: str,
) -> int:
    """Add the list of failures to `update` where it changes; return how many are new."""
    ids = list(update)
    before = {
        ids[i]: row.get(schema.FAILURES) or []
        for i, row in read_documents(samples, ids, {schema.FAILURES: 1})
    }
    new = 0
    for one in ids:
        outcomes = {
            member: None if isinstance(said, Prediction) else said
            for member, said in results[one].items()
        }
        failed = sum(said is not None for said in outcomes.values())
        if failed or before.get(one):
            update[one][schema.FAILURES] = documents.merged_failures(
                before.get(one, []), stage=stage, outcomes=outcomes
            )
        new += failed
    return new
