"""Bulk, resumable writes of predictions to a FiftyOne dataset.

Each label field stores the fingerprint of its member, in the same write as its labels. An
interrupted run resumes with `collection.missing_ids`.
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
from cascade.predictions import Answer, DepthMap, Detections, Failure, Masks, Prediction
from cascade.runtime.cpu import cores
from cascade.taxonomy import Taxonomy
from curation.errors import StoreError
from curation.storage import box_columns, conversions, documents, schema
from curation.storage.artifacts import ArtifactFolder
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
from curation.storage.documents import Document

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection


@dataclass
class WriteResult:
    """Counts of a write.

    Attributes:
        samples: Written samples.
        boxes: Boxes in them.
        failures: Recorded failures.
        dropped: Left-out boxes of unknown class, by label.
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
) -> WriteResult:
    """Store the results of detectors, `{sample id: {member: Detections or failure}}`.

    A failure is recorded and empties the field, which may have labels of an earlier run. A
    success removes an earlier failure. The consensus of the samples is outdated, so it is
    removed.

    Args:
        samples: The dataset, or a view of it.
        results: Results to store; other members of a sample stay unchanged.
        taxonomy: Maps the members' labels to classes.
        fingerprints: Fingerprint of each member.
        calibration: Maps scores to probabilities.
        stage: Stage of the failures.

    Raises:
        StoreError: A field is not declared, or the database refused a write.
        DatasetError: A sample does not exist.
    """
    require_fields(samples, [*fingerprints, schema.CONSENSUS])
    index_fingerprints(samples, [*fingerprints, schema.CONSENSUS])
    counts = WriteResult()
    for ids in chunks(list(results)):
        update: dict[str, Document] = {sample_id: {} for sample_id in ids}
        for member, fingerprint in fingerprints.items():
            outcomes = {i: results[i][member] for i in ids if member in results[i]}
            predictions = {i: row for i, row in outcomes.items() if isinstance(row, Detections)}
            fields, n_boxes, dropped = documents.member_fields(
                predictions,
                member=member,
                fingerprint=fingerprint,
                taxonomy=taxonomy,
                calibrate=calibration.calibrate_scores,
            )
            for sample_id in outcomes:
                update[sample_id] |= {member: fields.get(sample_id), schema.CONSENSUS: None}
            counts.boxes += n_boxes
            counts.dropped += dropped
        counts.failures += _record_outcomes(samples, update, results, stage)
        counts.samples += write_documents(samples, update)
    return counts


def write_consensus(
    samples: SampleCollection,
    ids: Sequence[str],
    clusters: Clusters,
    decisions: Decisions,
    *,
    taxonomy: Taxonomy,
    threshold: float,
    fingerprint: str,
    extra_fields: Sequence[Mapping[str, Any]] | None = None,
    hardness: FloatArray | None = None,
    sizes: Sizes | None = None,
) -> WriteResult:
    """Store the fused boxes, image decision, agreement and number of voters.

    Args:
        samples: The dataset, or a view of it.
        ids: Sample id of each of the n images.
        clusters: The fused boxes.
        decisions: The image decisions.
        taxonomy: Its decision names the field of the image decision.
        threshold: Lowest probability of the decision "yes".
        fingerprint: Hash of everything that determines the consensus.
        extra_fields: Further fields of each image, `{path: value}`, in the same write.
        hardness: Hardness of each cluster, shape (K,); None before scoring.
        sizes: Distance and size of each cluster; None if depth is unavailable.
    """
    decision = taxonomy.decision.name
    require_fields(samples, [schema.CONSENSUS, decision])
    fused = documents.consensus_fields(
        clusters, fingerprint=fingerprint, hardness=hardness, sizes=sizes
    )
    update: dict[str, Document] = {}
    for i, sample_id in enumerate(ids):
        update[sample_id] = {
            schema.CONSENSUS: fused[i],
            decision: documents.decision_field(
                decisions, i, threshold=threshold, fingerprint=fingerprint
            ),
            schema.AGREEMENT: documents.to_storable(decisions.agreement[i]),
            schema.N_VOTERS: int(decisions.n_voters[i]),
        }
        for path, value in (extra_fields[i] if extra_fields else {}).items():
            update[sample_id][path] = documents.to_storable(value)
    return WriteResult(samples=write_documents(samples, update), boxes=len(clusters))


def write_deep_tiers(
    samples: SampleCollection,
    results: Mapping[str, Mapping[str, Any]],
    *,
    folders: Mapping[str, ArtifactFolder],
    taxonomy: Taxonomy,
) -> WriteResult:
    """Store the results of the deep tiers; masks and depth maps go to files.

    Failures are handled as in `write_members`. The consensus of the samples is marked as
    outdated.

    Args:
        samples: The dataset, or a view of it.
        results: `{sample id: {member: Answer, Masks, DepthMap or failure}}`.
        folders: Artifact folder of each member, with its fingerprint.
        taxonomy: Maps the members' labels to classes.

    Raises:
        StoreError: A field is not declared, or a file or the database refused a write.
    """
    require_fields(samples, [*folders, schema.CONSENSUS])
    index_fingerprints(samples, folders)
    counts = WriteResult()
    with ThreadPoolExecutor(cores()) as pool:  # encoding PNGs takes most of the time
        for ids in chunks(list(results)):
            update: dict[str, Document] = {sample_id: {} for sample_id in ids}
            fields = {
                (sample_id, member): pool.submit(
                    _deep_tier_field, result, sample_id, folders[member], taxonomy
                )
                for sample_id in ids
                for member, result in results[sample_id].items()
            }
            for (sample_id, member), label_field in fields.items():
                update[sample_id][member] = label_field.result()
            for sample_id in ids:
                update[sample_id][f"{schema.CONSENSUS}.{schema.FINGERPRINT}"] = None
            counts.failures += _record_outcomes(samples, update, results, "examine")
            counts.samples += write_documents(samples, update)
    return counts


def write_ground_truth(
    samples: SampleCollection,
    truths: Mapping[str, Detections],
    *,
    labeled_round: int,
    label_field: str = schema.GROUND_TRUTH,
) -> WriteResult:
    """Store confirmed boxes, in canonical classes, and the round that labeled them."""
    require_fields(samples, [label_field])
    update = {
        sample_id: {
            label_field: conversions.raw_detections(truth, scored=False),
            schema.LABELED_ROUND: labeled_round,
        }
        for sample_id, truth in truths.items()
    }
    boxes = sum(len(truth) for truth in truths.values())
    return WriteResult(samples=write_documents(samples, update), boxes=boxes)


def write_columns(
    samples: SampleCollection, ids: Sequence[str], columns: Mapping[str, Sequence[Any]]
) -> int:
    """Store one value per sample and field, and return the number of written samples.

    Args:
        samples: The dataset, or a view of it.
        ids: Sample ids.
        columns: Values by field, in the order of `ids`: numbers (NaN becomes None), text, lists.
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
            sample_id: {
                name: documents.to_storable(values[start + i]) for name, values in columns.items()
            }
            for i, sample_id in enumerate(ids[start : start + CHUNK])
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
    """Update the stored confidences that differ from the calibrated scores.

    Args:
        samples: The dataset, or a view of it.
        members: Label fields.
        calibration: Maps scores to confidences.
        ids: Sample ids; all samples by default.

    Returns:
        The number of boxes with a new confidence.
    """
    n_changed = 0
    for chunk in chunks(ids_and_paths(samples)[0] if ids is None else ids):
        columns = box_columns.read_boxes(samples, chunk, members, ["score", "confidence"])
        score, confidence = columns.numbers.T
        votes = Votes(
            image=columns.sample,
            member=columns.member,
            class_id=np.maximum(columns.label_id, 0),
            p=np.nan_to_num(score),
            boxes_xyxy=columns.boxes_xywh,
            ran=columns.ran,
            members=tuple(members),
            classes=columns.labels or ("",),
        )
        changed = ~np.isnan(score) & (calibration.calibrate_votes(votes).p != confidence)
        n_changed += int(changed.sum())
        outdated = [chunk[i] for i in np.unique(columns.sample[changed])]
        _rewrite_confidences(samples, outdated, members, calibration)
    return n_changed


def write_failures(
    samples: SampleCollection,
    stage: str,
    member: str,
    failures: Mapping[str, Failure],
    *,
    cleared: Sequence[str] = (),
) -> int:
    """Record the failures of a member by sample, and remove those of the `cleared` samples."""
    results: dict[str, Mapping[str, Failure | None]] = {i: {member: None} for i in cleared}
    results |= {sample_id: {member: failure} for sample_id, failure in failures.items()}
    update: dict[str, Document] = {sample_id: {} for sample_id in results}
    n_failures = _record_outcomes(samples, update, results, stage)
    write_documents(samples, {i: fields for i, fields in update.items() if fields})
    return n_failures


def add_tags(samples: SampleCollection, tags: Mapping[str, Sequence[str]]) -> int:
    """Add tags to samples, `{sample id: tags}`, without duplicates; return the sample count."""
    operators: dict[str, dict[str, Document]] = {
        sample_id: {"$addToSet": {"tags": {"$each": list(new)}}, "$set": {}}
        for sample_id, new in tags.items()
    }
    return update_documents(samples, operators)


def _deep_tier_field(
    result: Any, sample_id: str, folder: ArtifactFolder, taxonomy: Taxonomy
) -> Document | None:
    """Write the files of a result and return its raw label field; None for a failure."""
    fingerprint = folder.fingerprint
    if isinstance(result, Answer):
        return documents.answer_field(result, fingerprint=fingerprint)
    if isinstance(result, DepthMap):
        path, step = folder.write_depth(sample_id, result)
        return documents.depth_field(
            str(path), step=step, unit=result.unit, fingerprint=fingerprint
        )
    if isinstance(result, Masks):
        extents = masks.bounding_boxes(result)
        paths = [
            str(folder.write_mask(sample_id, i, result.masks[i], extent))
            for i, extent in enumerate(extents)
        ]
        return documents.masks_field(
            result, extents, paths, fingerprint=fingerprint, taxonomy=taxonomy
        )
    return None


def _rewrite_confidences(
    samples: SampleCollection, ids: Sequence[str], members: Sequence[str], calibration: Calibration
) -> None:
    update: dict[str, Document] = {}
    for i, document in read_documents(samples, ids, dict.fromkeys(members, 1)):
        fields = {name: document[name] for name in members if document.get(name) is not None}
        for name, label_field in fields.items():
            boxes = [
                box for box in box_columns.raw_boxes(label_field) if box.get("score") is not None
            ]
            scores = np.array([box["score"] for box in boxes], np.float64)
            p = calibration.calibrate_scores(name, [box["label"] for box in boxes], scores)
            for box, confidence in zip(boxes, p, strict=True):
                box["confidence"] = float(confidence)
        update[ids[i]] = fields
    if update:
        write_documents(samples, update)


def _record_outcomes(
    samples: SampleCollection,
    update: dict[str, Document],
    results: Mapping[str, Mapping[str, Prediction | Failure | None]],
    stage: str,
) -> int:
    """Add the changed lists of failures to `update`, and return the number of new failures."""
    ids = list(update)
    existing = {
        ids[i]: document.get(schema.FAILURES) or []
        for i, document in read_documents(samples, ids, {schema.FAILURES: 1})
    }
    n_failures = 0
    for sample_id in ids:
        outcomes = {
            member: None if isinstance(result, Prediction) else result
            for member, result in results[sample_id].items()
        }
        failed = sum(failure is not None for failure in outcomes.values())
        if failed or existing.get(sample_id):
            update[sample_id][schema.FAILURES] = documents.merged_failures(
                existing.get(sample_id, []), stage=stage, outcomes=outcomes
            )
        n_failures += failed
    return n_failures
