"""The nightly ranking: what is new is looked at, the pool ranked, the hardest handed to people.

Each step does only what is missing, so an attempt goes on where the last one was cut off. What
an attempt decided (the number of its round, up to which sample it looked) is kept with the run,
so that a later one hands the same batch over and not another.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from cascade.engine.run import default_device
from cascade.ensemble import Ensemble
from cascade.taxonomy import Taxonomy
from curation.errors import StageError
from curation.inference.deep_tiers import estimators
from curation.jobs.execution.runner import LEASE_S, Context, who
from curation.jobs.models import Refused, Run
from curation.jobs.nightly import artifacts, bucket_sync, drift
from curation.jobs.nightly.drift import Drift
from curation.jobs.nightly.incremental_embeddings import embed_new, extend_index
from curation.jobs.nightly.incremental_hardness import rerank
from curation.labeling.label_studio.sync import OnlyPush
from curation.labeling.protocol import Labeler
from curation.settings import Settings
from curation.stages.adjudicate import adjudicate
from curation.stages.choose import choose
from curation.stages.examine import examine
from curation.stages.fuse import fuse
from curation.stages.ingest import ingest
from curation.stages.label import label
from curation.stages.predict import predict
from curation.storage import collection, queries, reader, schema
from curation.storage.database import lease
from curation.storage.database.lease import LeaseError
from curation.storage.database.lease_renewal import Heartbeat
from curation.storage.embeddings import brain_runs

if TYPE_CHECKING:
    from fiftyone import Dataset

logger = logging.getLogger(__name__)

THROUGH = "through"  # fact: the newest sample that the night looked at
ACCEPTED = "accepted"  # fact: a person has looked at what drifted
_ROUND = re.compile(r"(?:chosen )?round-(\d+)")
_PATIENCE_S = 600.0  # with another job that hands a batch of the same dataset over
_MOST_COMPARED = 5000  # reference images; drawn by their ids, so always the same ones


@dataclass(frozen=True)
class Night:
    """What a nightly ranking works with.

    Attributes:
        dataset: The FiftyOne dataset's name; made with the first images.
        watched: The folder, or bucket, that new images arrive in; None to rank what is there.
        taxonomy: What the dataset is ingested with.
        ensemble: Returns the ensemble to work with, once there is a dataset.
        labeler: Returns where the hardest go, once there is a dataset.
        budget: Samples a night.
        settings: Where things are kept.
        most_far: Share of far images from which a night is refused: see `drift`.
        seed: Of the random arm.
        device: Where models run; None for the first GPU, else the CPU.
    """

    dataset: str
    watched: str | None
    taxonomy: Taxonomy
    ensemble: Callable[[Any], Ensemble]
    labeler: Callable[[Any], Labeler]
    budget: int
    settings: Settings
    most_far: float = drift.MOST_FAR
    seed: int = 0
    device: torch.device | None = None


def rank(context: Context, night: Night) -> Mapping[str, Any]:
    """Do the night's work, and return what was done.

    Raises:
        Refused: The new images are nothing like those before; nothing is chosen or pushed.
        LabelingError: The labeling server did not take the batch; the next attempt hands the
            same one over.
    """
    done: dict[str, Any] = {}
    if night.watched is not None:
        done["ingest"] = bring_in(night, night.watched)
    dataset = queries.load_dataset(night.dataset)
    ensemble = night.ensemble(dataset)
    done |= _look(dataset, ensemble, night)
    calibrated = bool(ensemble.calibration.calibrated_members)
    pool = queries.pool(dataset)
    if calibrated and len(pool):
        done["score"] = asdict(rerank(dataset, ensemble, context.history.database))
    found, through = compare(context, dataset, most_far=night.most_far)
    if found is not None:
        done["drift"] = asdict(found)
        logger.info("%s", found.sentence)
        if found.drifted and not context.facts.get(ACCEPTED):
            raise Refused(
                f"{found.sentence} Nothing is pushed. Look at them; if they are as they should "
                f"be, run `curate jobs run {context.job.name} --accept-drift`."
            )
    with _alone(context, dataset):
        done |= _hand_over_late(context, dataset, night)
        done |= _hand_over(context, dataset, night, use_hardness=calibrated)
    done["indexed"] = extend_index(dataset)
    kept_in = night.settings.dataset_folder(dataset.name) / "jobs" / context.job.name
    done["artifacts"] = artifacts.keep(kept_in, context.run, dataset, done)
    context.keep(**{THROUGH: through})
    return {**done, THROUGH: through}


def compare(context: Context, dataset: Dataset, *, most_far: float) -> tuple[Drift | None, str]:
    """Return how far what is new since the last accepted night is from what was there before.

    The first is None in the first night, and where one of the two is too small. The second is
    when the newest sample was added that need not be looked at again, ISO 8601, UTC: new ones that
    are too few to be judged are looked at again with those that come next.
    """
    through = _through(context.history.runs(context.job.name))
    last = newest(dataset)
    if through is None:
        return None, last
    ids, _ = collection.ids_and_paths(dataset)
    columns = reader.read_columns(dataset, ["created_at", schema.DRIVE])
    failed = {one["sample"] for one in reader.failures(dataset) if one["stage"] == "embed"}
    rows = list(zip(ids, columns["created_at"], columns[schema.DRIVE], strict=True))
    new = [one for one, made, _ in rows if _stamp(made) > through and one not in failed]
    known = sorted(
        (one, drive) for one, made, drive in rows if _stamp(made) <= through and one not in failed
    )
    known = known[:: max(1, -(-len(known) // _MOST_COMPARED))]
    if len(new) < drift.LEAST_NIGHT and len(known) >= drift.LEAST_REFERENCE:
        return None, through
    if not new or not known:
        return None, last
    found = drift.measure(
        brain_runs.vectors(dataset, new),
        brain_runs.vectors(dataset, [one for one, _ in known]),
        [drive for _, drive in known],
        most_far=most_far,
    )
    return found, last


def newest(dataset: Dataset) -> str:
    """Return when the newest sample was added, ISO 8601, UTC; nothing where there is none."""
    _, last = dataset.bounds("created_at")
    return "" if last is None else _stamp(last)


def _through(runs: Sequence[Run]) -> str | None:
    found = [run.result[THROUGH] for run in runs if run.state == "done" and THROUGH in run.result]
    return max(found, default=None)


def _stamp(made: datetime) -> str:
    aware = made if made.tzinfo else made.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="milliseconds")


def bring_in(night: Night, watched: str) -> dict[str, Any]:
    """Ingest what arrived in the watched folder or bucket; return how much of it was new.

    Raises:
        StageError: The folder is not there.
    """
    done: dict[str, Any] = {}
    folder = Path(watched)
    if bucket_sync.is_address(watched):
        folder = night.settings.dataset_folder(night.dataset) / "inbox"
        done["fetched"] = bucket_sync.fetch(watched, folder)
    if not folder.is_dir():
        raise StageError(
            f"The watched folder {folder} is not there. Mount it, or change the job's `--watch`."
        )
    found = ingest(folder, name=night.dataset, taxonomy=night.taxonomy, settings=night.settings)
    failures = len(found.failures)
    return done | {"added": found.added, "existing": found.existing, "failures": failures}


def _look(dataset: Dataset, ensemble: Ensemble, night: Night) -> dict[str, Any]:
    """Have every member look at what it has not seen."""
    device = night.device or default_device()
    seen = predict(dataset, ensemble, device=device)
    fused = fuse(dataset, ensemble)
    done: dict[str, Any] = {
        "predict": {"ran": seen.ran, "failed": seen.failed},
        "fuse": {"fused": fused.fused},
    }
    if any(estimators(ensemble).values()):
        folder = night.settings.artifacts(dataset.name)
        looked = examine(dataset, ensemble, folder=folder, mode="routed", device=device)
        done["examine"] = asdict(looked)
        fuse(dataset, ensemble)
        done["adjudicate"] = asdict(adjudicate(dataset, ensemble))
    vectors = night.settings.vectors(dataset.name)
    done["embed"] = asdict(embed_new(dataset, ensemble, folder=vectors, device=device))
    return done


@contextmanager
def _alone(context: Context, dataset: Dataset) -> Iterator[None]:
    """Keep other jobs from numbering a round of the dataset, and from choosing, meanwhile.

    Raises:
        StageError: Another one took too long; the next attempt goes on here.
    """
    with ExitStack() as stack:
        try:
            held = stack.enter_context(
                lease.held(
                    context.history.database,
                    f"hand over {dataset.name}",
                    who=who(),
                    seconds=LEASE_S,
                    wait_s=_PATIENCE_S,
                )
            )
        except LeaseError as error:  # not of this job: nobody has taken over
            raise StageError(f"Another job works on {dataset.name!r}. {error}") from error
        stack.enter_context(Heartbeat(held, every_s=LEASE_S / 3))
        dataset.reload()
        yield


def _hand_over_late(context: Context, dataset: Dataset, night: Night) -> dict[str, Any]:
    """Push what earlier nights chose, and could not push before they were given up."""
    pushed = []
    chosen = set(dataset.distinct("tags"))
    notes = dataset.info.get(schema.INFO, {})
    for run in reversed(context.history.runs(context.job.name)):
        if run.is_open or run.state == "done" or "round" not in run.facts:
            continue
        number = int(run.facts["round"])
        tag = schema.round_tag(number)
        if tag in chosen and schema.PUSHED.format(tag) not in notes:
            context.expect_alone()
            once = OnlyPush(cast(Any, night.labeler(dataset)))
            label(dataset, number, once)
            if once.result.where:  # somebody labeled all of it otherwise: nothing was to be pushed
                logger.info("Round %d of the night of %s is pushed now.", number, run.due.date())
                pushed.append(number)
    return {"late": pushed} if pushed else {}


def _hand_over(
    context: Context, dataset: Dataset, night: Night, *, use_hardness: bool
) -> dict[str, Any]:
    """Choose the batch of this night, once, and push it."""
    if "round" not in context.facts:
        if not len(queries.unclaimed(queries.pool(dataset), "")):
            return {"choose": "Nothing is left to choose: all of the pool was chosen before."}
        context.keep(round=next_round(dataset))
    number = int(context.facts["round"])
    context.expect_alone()
    chosen = choose(
        dataset, round_number=number, budget=night.budget, seed=night.seed,
        use_hardness=use_hardness,
    )  # fmt: skip
    taker: Any = night.labeler(dataset)
    once = OnlyPush(taker)
    context.expect_alone()
    label(dataset, number, once)
    return {
        "round": number,
        "choose": {"chosen": chosen.chosen, "pool": chosen.pool, "arms": dict(chosen.arms)},
        "push": asdict(once.result),
    }


def next_round(dataset: Dataset) -> int:
    """Return the number after that of the last round that chose anything."""
    info = dataset.info.get(schema.INFO, {})
    names = [*dataset.distinct("tags"), *info]
    return 1 + max((int(m[1]) for one in names if (m := _ROUND.fullmatch(one))), default=0)
