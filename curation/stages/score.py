"""Score the hardness of each sample; higher is harder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.ensemble import Ensemble
from cascade.runtime.progress import Progress
from cascade.taxonomy import Taxonomy
from curation.active_learning.scoring import batch_hardness
from curation.active_learning.scoring.batch_hardness import RawHardness
from curation.errors import StageError
from curation.storage import collection, queries, reader, schema, writer
from curation.storage.collection import dataset_of

if TYPE_CHECKING:
    from fiftyone import DatasetView
    from fiftyone.core.collections import SampleCollection

_CHUNK = 1000  # samples whose boxes are in memory at a time


@dataclass(frozen=True)
class ScoreResult:
    """Outcome of a call of `score`.

    Attributes:
        ranked: Samples over which hardness is ranked: the unlabeled pool, or all samples if
            fields were given and every sample is labeled.
        scored: Samples with a hardness; samples without any prediction get none.
        members: The label fields whose disagreement was measured.
        calibrated: Whether scores were calibrated first.
        unknown_labels: Ignored boxes, by their label outside the taxonomy.
    """

    ranked: int
    scored: int
    members: tuple[str, ...]
    calibrated: bool
    unknown_labels: Mapping[str, int]


def score(
    samples: SampleCollection,
    *,
    members: Sequence[str] | None = None,
    ensemble: Ensemble | None = None,
    taxonomy: Taxonomy | None = None,
    progress: Progress | None = None,
) -> ScoreResult:
    """Write `hardness`, its components, `n_voters` and `expected_boxes`.

    Takes either an ensemble with stored predictions, or the names of existing label fields. Fields
    need no model run; their `confidence` is used uncalibrated.

    Args:
        samples: A FiftyOne dataset or view.
        members: Label fields to compare.
        ensemble: Ensemble with the calibration, weights and vocabularies to use.
        taxonomy: Taxonomy for the labels of `members`; None to treat each label as a class.
        progress: Callback after every thousand samples.

    Raises:
        StageError: Both or neither of `members` and `ensemble` are given, or no sample can be
            ranked.
        StoreError: A field is missing, or holds no boxes with confidences.
    """
    if bool(members) == (ensemble is not None):
        raise StageError(
            "Expected either an ensemble or label fields to compare, for example "
            "`--members field_a,field_b`."
        )
    names = ensemble.detectors if ensemble else tuple(dict.fromkeys(members or ()))
    dataset = dataset_of(samples)
    view = queries.pool(samples)
    if not len(view) and ensemble is None:
        view = samples.view()
    queries.require_pool(view, dataset.name)
    if ensemble:
        scorer: Callable[..., RawHardness] = partial(
            batch_hardness.ensemble_hardness, ensemble=ensemble
        )
    else:
        scorer = _field_scorer(view, names, taxonomy)
    unknown: Counter[str] = Counter()
    raw = batch_hardness.concatenate(
        [scorer(view, chunk, unknown=unknown) for chunk in _chunks(view, progress)]
    )
    schema.declare_hardness(dataset)
    columns: dict[str, Any] = {schema.HARDNESS: raw.over_pool(), **raw.columns()}
    writer.write_columns(dataset, raw.ids, columns)
    queries.write_info(
        dataset, "score", {"members": list(names), "ensemble": ensemble and ensemble.identity}
    )
    return ScoreResult(
        ranked=len(raw.ids),
        scored=int(raw.predicted.sum()),
        members=names,
        calibrated=bool(ensemble and ensemble.calibration.calibrated_members),
        unknown_labels=dict(unknown),
    )


def _field_scorer(
    view: DatasetView, members: Sequence[str], taxonomy: Taxonomy | None
) -> Callable[..., RawHardness]:
    """Return a scorer of fields of unknown origin: equal weights, and the labels each uses."""
    used = reader.used_labels(view, members)
    classes = taxonomy or queries.taxonomy_from_fields(view, members)
    competent = np.zeros((len(members), len(classes.names)), bool)
    for m, name in enumerate(members):
        competent[m, [c for c in classes.ids_of(used[name]) if c >= 0]] = True
    return partial(
        batch_hardness.field_hardness, members=members, taxonomy=classes, competent=competent
    )


def _chunks(view: DatasetView, progress: Progress | None) -> Iterator[Sequence[str]]:
    ids, _ = collection.ids_and_paths(view)
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]
        if progress:
            progress(min(start + _CHUNK, len(ids)), len(ids))
