"""Two registered versions side by side: each in fields of its own, and what sets them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cascade.engine.run import Progress, default_device, run
from cascade.ensemble import Ensemble
from cascade.inference import decision as voting
from cascade.metrics import classification
from cascade.metrics.average_precision import average_precision
from cascade.predictions import Detections
from curation.errors import StageError
from curation.storage import collection, documents, queries, reader, schema

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

_CONSENSUS_EXTRAS = {"votes": "IntField", "agreement": "FloatField", "members": "ListField"}


@dataclass(frozen=True)
class CompareResult:
    """What two versions say about the same samples.

    Attributes:
        versions: The two, as asked.
        samples: How many samples both looked at.
        labeled: How many of those have ground truth.
        rows: Name of a figure, and its value for either version; None where it is not defined.
        differing: Samples on which they decide differently.
        view: The saved view of those; empty where there are none.
    """

    versions: tuple[str, str]
    samples: int
    labeled: int
    rows: tuple[tuple[str, float | None, float | None], ...]
    differing: int
    view: str


def field_of(name: str, version: str) -> str:
    """Return the field in which a version's `name` is kept, such as `consensus__v3`."""
    return f"{name}__v{version}"


def compare(
    samples: SampleCollection,
    ensembles: Mapping[str, Ensemble],
    *,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> CompareResult:
    """Store what two versions say, member by member and fused, and return how they differ.

    Fields of the ensemble in service are not touched. Samples that a version looked at before
    are not looked at again.

    Args:
        samples: A FiftyOne dataset or view.
        ensembles: The two ensembles, by version.
        device: Where to run; the first GPU, else the CPU.
        progress: Told after every batch, over both.

    Raises:
        StageError: There are not two versions, or they decide on different things.
    """
    if len(ensembles) != 2:
        raise StageError(f"Two different versions are compared, got {', '.join(ensembles)}.")
    names = {one.taxonomy.decision.name for one in ensembles.values()}
    if len(names) != 1:
        raise StageError(f"The versions decide on different things: {', '.join(sorted(names))}.")
    total = len(samples) * len(ensembles)
    for number, (version, ensemble) in enumerate(ensembles.items()):
        before = number * len(samples)
        _look(
            samples, version, ensemble, device or default_device(),
            progress and (lambda done, _, b=before: progress(b + done, total)),
        )  # fmt: skip
    return _compared(samples, ensembles)


def _look(
    samples: SampleCollection,
    version: str,
    ensemble: Ensemble,
    device: torch.device,
    progress: Progress | None,
) -> None:
    _declare(queries.dataset_of(samples), version, ensemble)
    done_in = field_of(schema.CONSENSUS, version)
    todo = set(collection.missing(samples, done_in, ensemble.identity))
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
    """Writes what one version says, each sample in one step."""

    samples: SampleCollection
    version: str
    ensemble: Ensemble
    sizes: Mapping[str, Any]

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        ids, one = list(results), self.ensemble
        votes = voting.gather([results[i] for i in ids], one)
        clusters, decisions = voting.conclude(votes, one, np.array([self.sizes[i] for i in ids]))
        decisions = voting.heard(decisions, one, voting.probed([results[i] for i in ids], one))
        fused = documents.consensus_fields(clusters, fingerprint=one.identity)
        update: dict[str, dict[str, Any]] = {i: {} for i in ids}
        for member in one.detectors:
            said = {i: results[i].get(member) for i in ids}
            stored, _ = documents.member_fields(
                {i: found for i, found in said.items() if isinstance(found, Detections)},
                member=member,
                fingerprint=one.fingerprint(member),
                taxonomy=one.taxonomy,
                calibrate=one.calibration.apply,
            )
            for i in ids:
                update[i][field_of(member, self.version)] = stored.get(i)
        for row, i in enumerate(ids):
            update[i][field_of(one.taxonomy.decision.name, self.version)] = (
                documents.decision_field(
                    decisions,
                    row,
                    threshold=one.calibration.threshold,
                    fingerprint=one.identity,
                )
            )
            update[i][field_of(schema.CONSENSUS, self.version)] = fused[row]
        collection.write_documents(self.samples, update)


def _compared(samples: SampleCollection, ensembles: Mapping[str, Ensemble]) -> CompareResult:
    first, second = ensembles
    name = ensembles[first].taxonomy.decision.name
    decisions = [f"{field_of(name, version)}.label" for version in ensembles]
    ids, *said = samples.values(["id", *decisions])
    unlike = [one for one, a, b in zip(ids, *said, strict=True) if a != b]
    view = ""
    if unlike:
        dataset = queries.dataset_of(samples)
        view = f"v{first} against v{second}"
        dataset.save_view(view, dataset.select(unlike), overwrite=True)
    known = samples.exists(schema.GROUND_TRUTH)
    columns = [_figures(samples, known, version, one) for version, one in ensembles.items()]
    return CompareResult(
        versions=(first, second),
        samples=len(ids),
        labeled=len(known),
        rows=tuple((key, columns[0][key], columns[1][key]) for key in columns[0]),
        differing=len(unlike),
        view=view,
    )


def _figures(
    samples: SampleCollection, known: Any, version: str, ensemble: Ensemble
) -> dict[str, float | None]:
    """Return the figures of one version; those that need ground truth are of `known` only."""
    consensus = field_of(schema.CONSENSUS, version)
    label = f"{field_of(ensemble.taxonomy.decision.name, version)}.label"
    yes = np.array([one == "yes" for one in samples.values(label)], bool)
    boxes = samples.count(f"{consensus}.detections")
    n = max(len(yes), 1)
    found: dict[str, float | None] = {
        "said yes": float(yes.sum()) / n,
        "boxes an image": boxes / n,
        **dict.fromkeys(("MCC", "precision", "recall", "mAP at IoU 0.5")),
    }
    if not len(known):
        return found
    truths = reader.read_detections(known, schema.GROUND_TRUTH, ensemble.taxonomy)
    fused = reader.read_detections(known, consensus, ensemble.taxonomy)
    truth = voting.decisions_of(truths, ensemble.taxonomy)
    labels = dict(zip(*known.values(["id", label]), strict=True))
    says = np.array([labels[one] == "yes" for one in collection.ids_and_paths(known)[0]], bool)
    precision = average_precision(fused, truths, ensemble.taxonomy.names)
    return found | {
        "MCC": classification.mcc(truth, says),
        "precision": classification.precision(truth, says),
        "recall": classification.recall(truth, says),
        "mAP at IoU 0.5": _number(precision.map50),
    }


def _number(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


def as_table(result: CompareResult) -> Sequence[tuple[str, str, str, str]]:
    """Return the rows as text: figure, first, second, and the change from first to second."""
    return [
        (name, _text(a), _text(b), "" if a is None or b is None else f"{b - a:+.3f}")
        for name, a, b in result.rows
    ]


def _text(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
