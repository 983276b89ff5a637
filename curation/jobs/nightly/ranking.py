"""Nightly ranking: predict new samples, rank the pool, push the hardest for labeling.

Each step does only what is missing, so an attempt continues where the last one stopped. The
decisions of an attempt (round number, newest sample examined) are stored with the run, so a
later attempt pushes the same batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from cascade.ensemble import Ensemble
from cascade.runtime.devices import default_device
from cascade.taxonomy import Taxonomy
from curation.errors import StageError
from curation.jobs.execution.runner import LEASE_S, RunContext, process_name
from curation.jobs.models import Refused, Run
from curation.jobs.nightly import artifacts, bucket_sync, drift
from curation.jobs.nightly.drift import Drift
from curation.jobs.nightly.incremental_embeddings import embed_new, extend_index
from curation.jobs.nightly.incremental_hardness import rerank
from curation.labeling.label_studio.sync import PushOnlyLabeler
from curation.labeling.protocol import Labeler
from curation.pipeline.predict import StageResult, predict
from curation.pipeline.run_stage import run_ingest, run_stage
from curation.settings import Settings
from curation.stages.choose import choose
from curation.stages.examine import Mode
from curation.stages.label import label
from curation.stages.predict import Engine
from curation.storage import collection, queries, reader, schema
from curation.storage.database import lease
from curation.storage.database.lease import LeaseError
from curation.storage.database.lease_renewal import LeaseRenewer
from curation.storage.embeddings import brain_runs
from curation.storage.tags import parse_round, round_name

if TYPE_CHECKING:
    from fiftyone import Dataset

logger = logging.getLogger(__name__)

THROUGH = "through"  # fact: creation time of the newest sample examined
ACCEPTED = "accepted"  # fact: a person has accepted the drift
_SUMMARY = {"predict": ("ran", "failed"), "fuse": ("fused",)}  # figures stored with the run
_MAX_WAIT_S = 600.0  # for another job that pushes a batch of the same dataset
_MAX_REFERENCE = 5000  # reference images, sampled deterministically by id


@dataclass(frozen=True)
class NightlyConfig:
    """Configuration of a nightly ranking.

    Attributes:
        dataset: Name of the FiftyOne dataset; created with the first images.
        watched: Folder or bucket of new images; None to rank existing samples.
        taxonomy: Taxonomy to ingest with.
        ensemble: Function that returns the ensemble for the dataset.
        labeler: Function that returns the labeler for the dataset.
        budget: Samples per night.
        settings: Locations of files.
        most_far: Share of far images above which a night is refused: see `drift`.
        seed: Random seed for selection.
        device: Device of models; None for the first GPU, else the CPU.
        mode: Deep tiers on unsure samples (`routed`), or on every sample (`full`).
        engine: `local`, or `ray` for detectors on a cluster.
    """

    dataset: str
    watched: str | None
    taxonomy: Taxonomy
    ensemble: Callable[[Dataset], Ensemble]
    labeler: Callable[[Dataset], Labeler]
    budget: int
    settings: Settings
    most_far: float = drift.MOST_FAR
    seed: int = 0
    device: torch.device | None = None
    mode: Mode = "routed"
    engine: Engine = "local"


def rank(context: RunContext, config: NightlyConfig) -> Mapping[str, Any]:
    """Run the nightly ranking, and return its result.

    Raises:
        Refused: The new images are unlike the earlier ones; no batch is chosen or pushed.
        LabelingError: The labeling server did not accept the batch; the next attempt pushes
            the same one.
    """
    result: dict[str, Any] = {}
    if config.watched is not None:
        result["ingest"] = ingest_new(config, config.watched)
    dataset = queries.load_dataset(config.dataset)
    ensemble = config.ensemble(dataset)
    result |= _predict_new(dataset, ensemble, config)
    calibrated = bool(ensemble.calibration.calibrated_members)
    pool = queries.pool(dataset)
    if calibrated and len(pool):
        result["score"] = asdict(rerank(dataset, ensemble, context.store.database))
    comparison, through = measure_drift(context, dataset, most_far=config.most_far)
    if comparison is not None:
        result["drift"] = asdict(comparison)
        logger.info("%s", comparison.sentence)
        if comparison.drifted and not context.facts.get(ACCEPTED):
            raise Refused(
                f"{comparison.sentence} No batch is pushed. Check the new images; to accept them, "
                f"run `curate jobs run {context.job.name} --accept-drift`."
            )
    with _batch_lease(context, dataset):
        result |= _push_unpushed(context, dataset, config)
        result |= _push_batch(context, dataset, config, use_hardness=calibrated)
    result["indexed"] = extend_index(dataset)
    folder = config.settings.dataset_folder(dataset.name) / "jobs" / context.job.name
    result["artifacts"] = artifacts.write_artifacts(folder, context.run, dataset, result)
    context.set_facts(**{THROUGH: through})
    return {**result, THROUGH: through}


def measure_drift(
    context: RunContext, dataset: Dataset, *, most_far: float
) -> tuple[Drift | None, str]:
    """Compare samples added since the last finished run with earlier ones.

    Returns:
        The drift; None in the first night, and if either set is too small.
        Creation time of the newest sample that need not be compared again, ISO 8601, UTC. Too
        few new samples are compared again, together with the next ones.
    """
    through = _last_through(context.store.runs(context.job.name))
    last = newest_created_at(dataset)
    if through is None:
        return None, last
    ids, _ = collection.ids_and_paths(dataset)
    columns = reader.read_columns(dataset, ["created_at", schema.DRIVE])
    failed = {
        failure["sample"]
        for failure in reader.read_failures(dataset)
        if failure["stage"] == "embed"
    }
    new: list[str] = []
    reference: list[tuple[str, str | None]] = []
    for sample_id, created, drive in zip(
        ids, columns["created_at"], columns[schema.DRIVE], strict=True
    ):
        if sample_id in failed:
            continue
        if _timestamp(created) > through:
            new.append(sample_id)
        else:
            reference.append((sample_id, drive))
    reference.sort()
    reference = reference[:: max(1, -(-len(reference) // _MAX_REFERENCE))]
    if len(new) < drift.LEAST_NIGHT and len(reference) >= drift.LEAST_REFERENCE:
        return None, through
    if not new or not reference:
        return None, last
    comparison = drift.measure(
        brain_runs.read_vectors(dataset, new),
        brain_runs.read_vectors(dataset, [sample_id for sample_id, _ in reference]),
        [drive for _, drive in reference],
        most_far=most_far,
    )
    return comparison, last


def newest_created_at(dataset: Dataset) -> str:
    """Return the creation time of the newest sample, ISO 8601, UTC; empty if there is none."""
    _, last = dataset.bounds("created_at")
    return "" if last is None else _timestamp(last)


def _last_through(runs: Sequence[Run]) -> str | None:
    finished = [run.result for run in runs if run.state == "done"]
    return max((result[THROUGH] for result in finished if THROUGH in result), default=None)


def _timestamp(time: datetime) -> str:
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="milliseconds")


def ingest_new(config: NightlyConfig, watched: str) -> dict[str, Any]:
    """Ingest new images from the watched folder or bucket; return their counts.

    Raises:
        StageError: The folder does not exist.
    """
    counts: dict[str, Any] = {}
    folder = Path(watched)
    if bucket_sync.is_address(watched):
        folder = config.settings.dataset_folder(config.dataset) / "inbox"
        counts["fetched"] = bucket_sync.fetch(watched, folder)
    if not folder.is_dir():
        raise StageError(
            f"The watched folder {folder} does not exist. Mount it, or change the job's `--watch`."
        )
    result = run_ingest(
        folder, name=config.dataset, taxonomy=config.taxonomy, settings=config.settings
    )
    failures = len(result.failures)
    return counts | {"added": result.added, "existing": result.existing, "failures": failures}


def _predict_new(dataset: Dataset, ensemble: Ensemble, config: NightlyConfig) -> dict[str, Any]:
    """Run all members on samples that they have not predicted, and embed new samples."""
    device = config.device or default_device()
    results: dict[str, StageResult] = {}  # the first result of each stage covers all new samples
    predict(
        dataset, ensemble, folder=config.settings.artifacts(dataset.name), mode=config.mode,
        device=device, engine=config.engine, on_result=results.setdefault,
    )  # fmt: skip
    summaries: dict[str, Any] = {stage: asdict(result) for stage, result in results.items()}
    for stage, keys in _SUMMARY.items():
        summaries[stage] = {key: summaries[stage][key] for key in keys}
    vectors = config.settings.vectors(dataset.name)
    summaries["embed"] = asdict(embed_new(dataset, ensemble, folder=vectors, device=device))
    return summaries


@contextmanager
def _batch_lease(context: RunContext, dataset: Dataset) -> Iterator[None]:
    """Keep other jobs from numbering rounds of the dataset and choosing samples.

    Raises:
        StageError: Another job held the lease too long; the next attempt continues here.
    """
    name = f"hand over {dataset.name}"
    with ExitStack() as stack:
        try:
            batch_lease = stack.enter_context(
                lease.hold(
                    context.store.database, name, holder=process_name(), seconds=LEASE_S,
                    wait_s=_MAX_WAIT_S,
                )
            )  # fmt: skip
        except LeaseError as error:  # this is not the lease of the job itself
            raise StageError(f"Another job works on {dataset.name!r}. {error}") from error
        stack.enter_context(LeaseRenewer(batch_lease.renew, every_s=LEASE_S / 3))
        dataset.reload()
        yield


def _push_unpushed(context: RunContext, dataset: Dataset, config: NightlyConfig) -> dict[str, Any]:
    """Push batches that failed runs of earlier nights chose but did not push."""
    pushed = []
    chosen = set(dataset.distinct("tags"))
    notes = dataset.info.get(schema.INFO, {})
    for run in reversed(context.store.runs(context.job.name)):
        if run.is_open or run.state == "done" or "round" not in run.facts:
            continue
        number = int(run.facts["round"])
        tag = round_name(number)
        if tag in chosen and schema.PUSHED.format(tag) not in notes:
            context.renew_lease()
            pusher = PushOnlyLabeler(cast(Any, config.labeler(dataset)))
            run_stage(label, dataset, number, pusher)
            if pusher.result.location:  # else its samples were labeled otherwise meanwhile
                logger.info("Pushed round %d of the night of %s.", number, run.due.date())
                pushed.append(number)
    return {"late": pushed} if pushed else {}


def _push_batch(
    context: RunContext, dataset: Dataset, config: NightlyConfig, *, use_hardness: bool
) -> dict[str, Any]:
    """Choose the batch of this night, unless already chosen, and push it."""
    if "round" not in context.facts:
        if not len(queries.exclude_other_rounds(queries.pool(dataset), "")):
            return {"choose": "All samples of the pool have already been chosen."}
        context.set_facts(round=next_round(dataset))
    number = int(context.facts["round"])
    context.renew_lease()
    batch = run_stage(
        choose, dataset, round_number=number, budget=config.budget, seed=config.seed,
        use_hardness=use_hardness,
    )  # fmt: skip
    pusher = PushOnlyLabeler(cast(Any, config.labeler(dataset)))
    context.renew_lease()
    run_stage(label, dataset, number, pusher)
    return {
        "round": number,
        "choose": {"chosen": batch.chosen, "pool": batch.pool, "arms": dict(batch.arms)},
        "push": asdict(pusher.result),
    }


def next_round(dataset: Dataset) -> int:
    """Return the number of the next round: one after the last that chose samples."""
    info = dataset.info.get(schema.INFO, {})
    names = [*dataset.distinct("tags"), *(key.removeprefix("chosen ") for key in info)]
    return 1 + max((parse_round(name) or 0 for name in names), default=0)
