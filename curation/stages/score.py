"""Score how much each sample would teach: hardness, higher is harder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.engine.run import Progress
from cascade.ensemble import Ensemble
from cascade.taxonomy import Taxonomy
from curation.active_learning.scoring import batch_hardness
from curation.active_learning.scoring.batch_hardness import RawHardness
from curation.errors import StageError
from curation.presentation import refresh
from curation.storage import collection, queries, reader, schema, writer

if TYPE_CHECKING:
    from fiftyone import DatasetView
    from fiftyone.core.collections import SampleCollection

_CHUNK = 1000  # samples whose boxes are in memory at a time


@dataclass(frozen=True)
class ScoreResult:
    """What a call did.

    Attributes:
        ranked: Samples over which hardness is ranked: the unlabeled pool; all samples where
            every one is labeled and fields were named.
        scored: Samples that got a hardness; those that no member looked at get none.
        members: The label fields whose disagreement was measured.
        calibrated: Whether their scores were turned into probabilities first.
        unknown_labels: Boxes that were left out, by the label that means no class.
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

    Either an ensemble whose predictions are stored, or the names of label fields that the
    dataset already has: then no model runs, and their `confidence` is taken as it is.

    Args:
        samples: A FiftyOne dataset or view.
        members: Label fields to compare.
        ensemble: Whose calibration, weights and vocabulary hold.
        taxonomy: What the labels of `members` mean; by default each label means itself.
        progress: Told after every thousand samples.

    Raises:
        StageError: Not one of both was given, or there is no sample to rank.
        StoreError: A field is absent, or holds no boxes with confidences.
    """
    if bool(members) == (ensemble is not None):
        raise StageError(
            "Give what to score: either an ensemble, or the label fields to compare, "
            "for example `--members field_a,field_b`."
        )
    names = ensemble.detectors if ensemble else tuple(dict.fromkeys(members or ()))
    dataset = queries.dataset_of(samples)
    view = queries.pool(samples)
    if not len(view) and ensemble is None:
        view = samples.view()
    queries.require_pool(view, dataset.name)
    if ensemble:
        raw, unknown = _of_ensemble(view, ensemble, progress)
    else:
        raw, unknown = _of_fields(view, names, taxonomy, progress)
    schema.declare_hardness(dataset)
    columns: dict[str, Any] = {schema.HARDNESS: raw.over_pool(), **raw.columns()}
    writer.write_columns(dataset, raw.ids, columns)
    queries.remember(
        dataset, "score", {"members": list(names), "ensemble": ensemble and ensemble.identity}
    )
    refresh.after_stage(dataset)
    return ScoreResult(
        ranked=len(raw.ids),
        scored=int(raw.looked_at.sum()),
        members=names,
        calibrated=bool(ensemble and ensemble.calibration.calibrated_members),
        unknown_labels=dict(unknown),
    )


def _of_ensemble(
    view: DatasetView, ensemble: Ensemble, progress: Progress | None
) -> tuple[RawHardness, Counter[str]]:
    unknown: Counter[str] = Counter()
    parts = [
        batch_hardness.of_ensemble(view, chunk, ensemble, unknown=unknown)
        for chunk in _chunks(view, progress)
    ]
    return batch_hardness.joined(parts), unknown


def _of_fields(
    view: DatasetView, members: Sequence[str], taxonomy: Taxonomy | None, progress: Progress | None
) -> tuple[RawHardness, Counter[str]]:
    """Score fields of unknown origin: equal voices, and each can name the labels that it uses."""
    used = reader.labels_of(view, members)
    classes = taxonomy or queries.own_taxonomy(view, members)
    competent = np.zeros((len(members), len(classes.names)), bool)
    for m, name in enumerate(members):
        competent[m, [c for c in classes.ids_of(used[name]) if c >= 0]] = True
    unknown: Counter[str] = Counter()
    parts = [
        batch_hardness.of_fields(
            view, chunk, members, classes, competent=competent, unknown=unknown
        )
        for chunk in _chunks(view, progress)
    ]
    return batch_hardness.joined(parts), unknown


def _chunks(view: DatasetView, progress: Progress | None) -> Iterator[Sequence[str]]:
    ids, _ = collection.ids_and_paths(view)
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]
        if progress:
            progress(min(start + _CHUNK, len(ids)), len(ids))
