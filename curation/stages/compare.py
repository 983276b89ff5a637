"""Compare two registered versions side by side, each in its own fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cascade.engine.run import run
from cascade.ensemble import Ensemble
from cascade.inference import decision
from cascade.metrics import classification
from cascade.metrics.average_precision import average_precision
from cascade.predictions import Detections
from cascade.runtime.devices import default_device
from cascade.runtime.progress import Progress, subtask
from curation.errors import StageError
from curation.storage import collection, documents, reader, schema
from curation.storage.collection import dataset_of

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView
    from fiftyone.core.collections import SampleCollection

_CONSENSUS_EXTRAS = {"votes": "IntField", "agreement": "FloatField", "members": "ListField"}


@dataclass(frozen=True)
class CompareResult:
    """Comparison of two versions on the same samples.

    Attributes:
        versions: The two versions.
        samples: Samples that were compared.
        labeled: Compared samples with ground truth.
        rows: Name of each metric, and its value for both versions; None if it is undefined.
        differing: Samples with different decisions.
        view: Saved view of the differing samples; empty if there are none.
    """

    versions: tuple[str, str]
    samples: int
    labeled: int
    rows: tuple[tuple[str, float | None, float | None], ...]
    differing: int
    view: str


def field_of(name: str, version: str) -> str:
    """Return the field for a version's `name`, such as `consensus__v3`."""
    return f"{name}__v{version}"


def compare(
    samples: SampleCollection,
    ensembles: Mapping[str, Ensemble],
    *,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> CompareResult:
    """Store the predictions of two versions, of each member and fused, and compare them.

    Fields of the ensemble in service are unchanged. Only missing predictions are made.

    Args:
        samples: A FiftyOne dataset or view.
        ensembles: The two ensembles, by version.
        device: Device of all models; None for the first GPU, else the CPU.
        progress: Callback after every batch, over both ensembles.

    Raises:
        StageError: There are not two versions, or they make different decisions.
    """
    if len(ensembles) != 2:
        raise StageError(f"Expected two different versions, got {', '.join(ensembles)}.")
    names = {ensemble.taxonomy.decision.name for ensemble in ensembles.values()}
    if len(names) != 1:
        raise StageError(f"The versions make different decisions: {', '.join(sorted(names))}.")
    total = len(samples) * len(ensembles)
    for number, (version, ensemble) in enumerate(ensembles.items()):
        _predict(
            samples, version, ensemble, device or default_device(),
            subtask(progress, number * len(samples), total),
        )  # fmt: skip
    return _comparison(samples, ensembles)


def _predict(
    samples: SampleCollection,
    version: str,
    ensemble: Ensemble,
    device: torch.device,
    progress: Progress | None,
) -> None:
    _declare(dataset_of(samples), version, ensemble)
    consensus = field_of(schema.CONSENSUS, version)
    todo = set(collection.missing_ids(samples, consensus, ensemble.identity))
    if not todo:
        return
    ids, paths = collection.ids_and_paths(samples)
    sizes = dict(zip(ids, reader.sizes_px(samples), strict=True))
    members = {name: ensemble.manifest.member(name) for name in ensemble.voters}
    run(
        {name: ensemble.build(name, device) for name in members},
        members,
        ids,
        paths,
        _Sink(samples, version, ensemble, sizes),
        device=device,
        todo=dict.fromkeys(members, todo),
        progress=progress,
    )


def _declare(dataset: Dataset, version: str, ensemble: Ensemble) -> None:
    import fiftyone as fo

    names = [*ensemble.detectors, schema.CONSENSUS]
    schema.declare(dataset, ensemble.taxonomy, [field_of(name, version) for name in names])
    consensus = field_of(schema.CONSENSUS, version)
    decision = field_of(ensemble.taxonomy.decision.name, version)
    if dataset.get_field(decision) is None:
        dataset.add_sample_field(
            decision, fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification
        )
        dataset.add_sample_field(f"{decision}.{schema.FINGERPRINT}", fo.StringField)
    for name, kind in _CONSENSUS_EXTRAS.items():
        path = f"{consensus}.detections.{name}"
        if dataset.get_field(path) is None:
            subfield = {"subfield": fo.StringField} if kind == "ListField" else {}
            dataset.add_sample_field(path, getattr(fo, kind), **subfield)


@dataclass(frozen=True)
class _Sink:
    """Writes the predictions of one version, each sample in one update."""

    samples: SampleCollection
    version: str
    ensemble: Ensemble
    sizes: Mapping[str, Any]

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Write one batch of results."""
        ids, ensemble = list(results), self.ensemble
        rows = [results[i] for i in ids]
        votes = decision.collect_votes(rows, ensemble)
        sizes = np.array([self.sizes[i] for i in ids])
        clusters, decisions = decision.fuse_and_decide(votes, ensemble, sizes)
        decisions = decision.with_image_votes(
            decisions, ensemble, decision.probe_votes(rows, ensemble)
        )
        fused = documents.consensus_fields(clusters, fingerprint=ensemble.identity)
        update: dict[str, dict[str, Any]] = {i: {} for i in ids}
        for member in ensemble.detectors:
            predictions = {i: results[i].get(member) for i in ids}
            stored, *_ = documents.member_fields(
                {i: boxes for i, boxes in predictions.items() if isinstance(boxes, Detections)},
                member=member,
                fingerprint=ensemble.fingerprint(member),
                taxonomy=ensemble.taxonomy,
                calibrate=ensemble.calibration.calibrate_scores,
            )
            for i in ids:
                update[i][field_of(member, self.version)] = stored.get(i)
        decision_field = field_of(ensemble.taxonomy.decision.name, self.version)
        for row, i in enumerate(ids):
            update[i][decision_field] = documents.decision_field(
                decisions,
                row,
                threshold=ensemble.calibration.threshold,
                fingerprint=ensemble.identity,
            )
            update[i][field_of(schema.CONSENSUS, self.version)] = fused[row]
        collection.write_documents(self.samples, update)


def _comparison(samples: SampleCollection, ensembles: Mapping[str, Ensemble]) -> CompareResult:
    first, second = ensembles
    name = ensembles[first].taxonomy.decision.name
    decisions = [f"{field_of(name, version)}.label" for version in ensembles]
    ids, *labels = samples.values(["id", *decisions])
    differing = [sample_id for sample_id, a, b in zip(ids, *labels, strict=True) if a != b]
    view = ""
    if differing:
        dataset = dataset_of(samples)
        view = f"v{first} against v{second}"
        dataset.save_view(view, dataset.select(differing), overwrite=True)
    labeled = samples.exists(schema.GROUND_TRUTH)
    columns = [
        _metrics(samples, labeled, version, ensemble) for version, ensemble in ensembles.items()
    ]
    return CompareResult(
        versions=(first, second),
        samples=len(ids),
        labeled=len(labeled),
        rows=tuple((key, columns[0][key], columns[1][key]) for key in columns[0]),
        differing=len(differing),
        view=view,
    )


def _metrics(
    samples: SampleCollection, labeled: DatasetView, version: str, ensemble: Ensemble
) -> dict[str, float | None]:
    """Return the metrics of one version; those that need ground truth use only `labeled`."""
    consensus = field_of(schema.CONSENSUS, version)
    label = f"{field_of(ensemble.taxonomy.decision.name, version)}.label"
    n = max(len(samples), 1)
    metrics: dict[str, float | None] = {
        "predicted yes": samples.values(label).count("yes") / n,
        "boxes per image": samples.count(f"{consensus}.detections") / n,
        **dict.fromkeys(("MCC", "precision", "recall", "mAP at IoU 0.5")),
    }
    if not len(labeled):
        return metrics
    truths = reader.read_detections(labeled, schema.GROUND_TRUTH, ensemble.taxonomy)
    fused = reader.read_detections(labeled, consensus, ensemble.taxonomy)
    truth = decision.true_decisions(truths, ensemble.taxonomy)
    labels = dict(zip(*labeled.values(["id", label]), strict=True))
    ids, _ = collection.ids_and_paths(labeled)
    predicted = np.array([labels[sample_id] == "yes" for sample_id in ids], bool)
    precision = average_precision(fused, truths, ensemble.taxonomy.names)
    return metrics | {
        "MCC": classification.mcc(truth, predicted),
        "precision": classification.precision(truth, predicted),
        "recall": classification.recall(truth, predicted),
        "mAP at IoU 0.5": _number(precision.map50),
    }


def _number(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


def as_table(result: CompareResult) -> Sequence[tuple[str, str, str, str]]:
    """Return the rows as text: metric, first, second, and the change from first to second."""
    return [
        (name, _text(a), _text(b), "" if a is None or b is None else f"{b - a:+.3f}")
        for name, a, b in result.rows
    ]


def _text(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
