"""Choose the next batch to label: the hardest and most varied samples, and a random arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.engine.run import Progress, default_device
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
from curation.presentation import refresh
from curation.storage import collection, queries, reader, schema
from curation.storage.embeddings import brain_runs

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView
    from fiftyone.core.collections import SampleCollection


@dataclass(frozen=True)
class ChooseResult:
    """What a call did.

    Attributes:
        pool: Unlabeled samples that could have been chosen.
        chosen: Samples of the batch.
        arms: How many came by each arm.
        duplicates_dropped: Near-duplicates that were left out; the hardest of each stays.
        boxes: Boxes that the batch is expected to need; None before anything was scored.
        hours: Labeling time that it is expected to take; None before anything was scored.
        advice: What to know before labeling, in sentences.
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

    A round that was chosen already is returned as it is: nothing is chosen twice.
    Only the unlabeled pool is looked at; validation and test are never chosen.

    Args:
        samples: A FiftyOne dataset, or a view to choose from.
        round_number: Counts from 1.
        budget: Samples to choose.
        seed: Of the random arm.
        use_hardness: False for a round without a calibrated member: coverage only.
        progress: Told when the pool is read, chosen and tagged.

    Raises:
        StageError: There is no pool, no embedding or no hardness yet.
    """
    if budget < 1:
        raise StageError(f"The budget must be at least 1 sample, got {budget}.")
    dataset, tag = queries.dataset_of(samples), schema.round_tag(round_number)
    done = queries.remembered(dataset, f"chosen {tag}")
    if done is not None:
        return ChooseResult(**{**done, "advice": tuple(done["advice"])})
    view = queries.unclaimed(queries.pool(samples), tag)
    queries.require_pool(view, dataset.name)
    found = _embeddable(view)
    ids, _ = collection.ids_and_paths(found)
    pool = _pool(found, ids, dataset, use_hardness=use_hardness)
    _tell(progress, 1)
    labeled, _ = collection.ids_and_paths(_embeddable(queries.labeled(dataset, "train")))
    picked = batch.choose(
        pool,
        brain_runs.vectors(dataset, labeled),
        budget,
        seed=seed + round_number,
        cover=_on_gpu(),
    )
    _tell(progress, 2)
    schema.declare_choice(dataset)
    queries.tag_chosen(dataset, tag, [ids[i] for i in picked.index], picked.arm, picked.because)
    queries.tag_only(dataset, schema.NEAR_DUPLICATE, [ids[i] for i in picked.dropped])
    result = _result(pool, picked, lost=len(view) - len(ids), scored=use_hardness)
    queries.remember(dataset, f"chosen {tag}", asdict(result))
    refresh.after_stage(dataset)
    _tell(progress, 3)
    return result


def _on_gpu() -> coverage.MakeCover | None:
    """Return what does the arithmetic on a GPU of CUDA; None where there is none."""
    device = default_device()
    return coverage_torch.on(device) if device.type == "cuda" else None


def _embeddable(view: DatasetView) -> Any:
    """Return the view without the samples whose image could not be embedded."""
    failed = {one["sample"] for one in reader.failures(view) if one["stage"] == "embed"}
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
    found = reader.read_columns(view, names)
    nothing: list[Any] = [None] * len(ids)
    hardness = queries.numbers(found.get(schema.HARDNESS, nothing))
    if use_hardness and not np.isfinite(hardness).any():
        raise StageError(
            f"No sample of {dataset.name!r} has a hardness. "
            f"Run `curate score {dataset.name}`, or choose by coverage only with "
            "`--no-use-hardness`."
        )
    return Pool(
        embeddings=brain_runs.vectors(dataset, ids),
        hardness=hardness if use_hardness else None,
        drives=found.get(schema.DRIVE, nothing),
        times_s=queries.numbers(found.get(schema.TIME_S, nothing)),
        expected_boxes=np.nan_to_num(
            queries.numbers(found.get(schema.EXPECTED_BOXES, nothing)), nan=1.0
        ),
        strata=slices.build(
            {k: found[k] for k in (schema.TIME_OF_DAY, schema.WEATHER) if k in found},
            mean_luma=queries.numbers(found.get(schema.LUMA, nothing)),
        ),
        alike=brain_runs.look_alike(dataset, ids, near_duplicates.COSINE),
    )


def _result(pool: Pool, picked: batch.Chosen, *, lost: int, scored: bool) -> ChooseResult:
    cost = stopping_rule.labeling_cost(pool.expected_boxes[picked.index])
    advice = (*picked.advice, cost.sentence) if scored else picked.advice
    if lost:
        advice = (
            f"Left out, because their images could not be embedded: {lost} of the pool "
            f"(see the field `{schema.FAILURES}`).",
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


def _tell(progress: Progress | None, done: int) -> None:
    if progress:
        progress(done, 3)
