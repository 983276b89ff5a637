"""Choose the next batch to label: the hardest and most varied samples, and a random arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.runtime.devices import default_device
from cascade.runtime.progress import Progress
from curation.active_learning.evaluation import slices
from curation.active_learning.selection import (
    batch,
    coverage,
    coverage_torch,
    near_duplicates,
    stopping_rule,
)
from curation.active_learning.selection.pool import Pool
from curation.errors import StageError
from curation.storage import collection, queries, reader, schema
from curation.storage.collection import dataset_of
from curation.storage.embeddings import brain_runs
from curation.storage.tags import round_name

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView
    from fiftyone.core.collections import SampleCollection


@dataclass(frozen=True)
class ChooseResult:
    """Outcome of a call of `choose`.

    Attributes:
        pool: Unlabeled candidates.
        chosen: Samples of the batch.
        arms: Chosen samples of each arm.
        duplicates_dropped: Near-duplicates left out; the hardest of each group stays.
        boxes: Expected boxes of the batch; None if there are no scores.
        hours: Expected labeling time; None if there are no scores.
        advice: Sentences to read before labeling.
    """

    pool: int
    chosen: int
    arms: Mapping[str, int]
    duplicates_dropped: int
    boxes: float | None
    hours: float | None
    advice: tuple[str, ...]


def choose(
    samples: SampleCollection,
    *,
    round_number: int,
    budget: int,
    seed: int = 0,
    use_hardness: bool = True,
    progress: Progress | None = None,
) -> ChooseResult:
    """Tag the chosen samples `round-NN` and `arm:...`, with `rank` and `chosen_because`.

    A round that has chosen returns its earlier result. Only the unlabeled pool is considered,
    never validation and test.

    Args:
        samples: A FiftyOne dataset, or a view to choose from.
        round_number: The round, from 1.
        budget: Samples to choose.
        seed: Random seed for the random arm.
        use_hardness: False to choose by coverage only, as without any calibrated member.
        progress: Callback after reading the pool, choosing and tagging.

    Raises:
        StageError: The pool is empty, or lacks embeddings or hardness.
    """
    if budget < 1:
        raise StageError(f"The budget must be at least 1 sample, got {budget}.")
    dataset, tag = dataset_of(samples), round_name(round_number)
    done = queries.read_info(dataset, f"chosen {tag}")
    if done is not None:
        return ChooseResult(**{**done, "advice": tuple(done["advice"])})
    view = queries.exclude_other_rounds(queries.pool(samples), tag)
    queries.require_pool(view, dataset.name)
    candidates = _embeddable(view)
    ids, _ = collection.ids_and_paths(candidates)
    pool = _pool(candidates, ids, dataset, use_hardness=use_hardness)
    _report(progress, 1)
    labeled, _ = collection.ids_and_paths(_embeddable(queries.labeled(dataset, "train")))
    picked = batch.choose(
        pool,
        brain_runs.read_vectors(dataset, labeled),
        budget,
        seed=seed + round_number,
        cover=_on_gpu(),
    )
    _report(progress, 2)
    schema.declare_choice(dataset)
    queries.tag_batch(dataset, tag, [ids[i] for i in picked.index], picked.arm, picked.because)
    queries.move_tag(dataset, schema.NEAR_DUPLICATE, [ids[i] for i in picked.dropped])
    result = _result(pool, picked, lost=len(view) - len(ids), scored=use_hardness)
    queries.write_info(dataset, f"chosen {tag}", asdict(result))
    _report(progress, 3)
    return result


def _on_gpu() -> coverage.CoverFactory | None:
    """Return the coverage implementation for a CUDA GPU; None if there is none."""
    device = default_device()
    return coverage_torch.torch_cover(device) if device.type == "cuda" else None


def _embeddable(view: DatasetView) -> DatasetView:
    """Return the view without the samples whose image could not be embedded."""
    failures = reader.read_failures(view)
    failed = {failure["sample"] for failure in failures if failure["stage"] == "embed"}
    return view.exclude(list(failed)) if failed else view


def _pool(view: DatasetView, ids: Sequence[str], dataset: Dataset, *, use_hardness: bool) -> Pool:
    names = [
        name
        for name in (
            schema.DRIVE, schema.TIME_S, schema.HARDNESS, schema.EXPECTED_BOXES,
            schema.TIME_OF_DAY, schema.WEATHER, schema.LUMA,
        )
        if name in view.get_field_schema()
    ]  # fmt: skip
    columns = reader.read_columns(view, names)
    nothing: list[Any] = [None] * len(ids)
    hardness = queries.float_array(columns.get(schema.HARDNESS, nothing))
    if use_hardness and not np.isfinite(hardness).any():
        raise StageError(
            f"No sample in {dataset.name!r} has a hardness score. "
            f"Run `curate score {dataset.name}`, or choose by coverage only with "
            "`--no-use-hardness`."
        )
    return Pool(
        embeddings=brain_runs.read_vectors(dataset, ids),
        hardness=hardness if use_hardness else None,
        drives=columns.get(schema.DRIVE, nothing),
        times_s=queries.float_array(columns.get(schema.TIME_S, nothing)),
        expected_boxes=np.nan_to_num(
            queries.float_array(columns.get(schema.EXPECTED_BOXES, nothing)), nan=1.0
        ),
        strata=slices.build(
            {
                name: columns[name]
                for name in (schema.TIME_OF_DAY, schema.WEATHER)
                if name in columns
            },
            mean_luma=queries.float_array(columns.get(schema.LUMA, nothing)),
        ),
        similar_pairs=brain_runs.near_duplicate_pairs(dataset, ids, near_duplicates.COSINE),
    )


def _result(pool: Pool, picked: batch.Batch, *, lost: int, scored: bool) -> ChooseResult:
    cost = stopping_rule.labeling_cost(pool.expected_boxes[picked.index])
    advice = (*picked.advice, cost.sentence) if scored else picked.advice
    if lost:
        advice = (
            f"{lost} samples of the pool were left out because their images could not be "
            f"embedded (see the field `{schema.FAILURES}`).",
            *advice,
        )
    return ChooseResult(
        pool=len(pool),
        chosen=len(picked),
        arms=dict(Counter(picked.arm)),
        duplicates_dropped=len(picked.dropped),
        boxes=round(cost.boxes, 1) if scored else None,
        hours=round(cost.hours, 2) if scored else None,
        advice=advice,
    )


def _report(progress: Progress | None, done: int) -> None:
    if progress:
        progress(done, 3)
