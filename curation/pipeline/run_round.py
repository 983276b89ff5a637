"""One round: the stages in order.

Every stage does only what is missing and is put on record when it is done, so a round that was
cut off, by Ctrl-C or worse, goes on where it stopped when it is called again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cascade.engine.run import Progress, default_device
from cascade.ensemble import Ensemble
from cascade.errors import nearest
from curation import tracking
from curation.errors import StageError
from curation.inference.deep_tiers import estimators
from curation.labeling.protocol import Labeler
from curation.settings import Settings
from curation.stages.adjudicate import adjudicate
from curation.stages.calibrate import calibrate
from curation.stages.choose import choose
from curation.stages.embed import embed
from curation.stages.evaluate import evaluate
from curation.stages.examine import Mode, examine
from curation.stages.fuse import fuse
from curation.stages.label import label
from curation.stages.predict import predict
from curation.stages.publish import publish
from curation.stages.report import report
from curation.stages.reproduce import keep
from curation.stages.score import score
from curation.stages.train import train
from curation.storage import queries, reader, rounds
from curation.storage.rounds import Round
from curation.tracking.runs import Runs

if TYPE_CHECKING:
    from fiftyone import Dataset

logger = logging.getLogger(__name__)

Bars = Callable[[str], Progress | None]  # a progress bar for each stage, by its verb
LEAST_BUDGET = 20


@dataclass(frozen=True)
class Plan:
    """What a round is asked to do.

    Attributes:
        budget: Samples to choose; None for a tenth of the pool, at least `LEAST_BUDGET`.
        epochs: Passes over the labeled samples, at most.
        seed: Of the random arm and of the fits.
        mode: Whether the deeper tiers look at every sample (`full`), or where the cascade's
            path leads to them (`routed`).
        device: Where models run; None for the first GPU, else the CPU.
        focus: Whether training shows more often what the champion fails at: see `train`.
        sign_off: Whether a person has to sign a promotion: see `publish`.
    """

    budget: int | None = None
    epochs: int = 12
    seed: int = 0
    mode: Mode = "full"
    device: torch.device | None = None
    focus: bool = False
    sign_off: bool = False


@dataclass(frozen=True)
class RoundResult:
    """How a round ended.

    Attributes:
        round: The round.
        waiting: Chosen samples that nobody has labeled yet; the round goes on when they are.
        where: Where they wait.
        report: The report's path; None while the round is not finished.
        changed: Whether this call did anything.
    """

    round: Round
    waiting: int = 0
    where: str = ""
    report: Path | None = None
    changed: bool = True


def run_round(
    dataset: Dataset,
    number: int,
    first: Ensemble,
    labeler: Labeler,
    settings: Settings,
    *,
    plan: Plan,
    bars: Bars = lambda stage: None,
    until: str = "report",
) -> RoundResult:
    """Carry one round to its report, or as far as labels allow.

    Args:
        dataset: A FiftyOne dataset with labeled validation and test splits and a pool.
        number: The round, from 1; the ones before must be finished.
        first: The ensemble of round 1; later rounds go on with what the last one trained.
        labeler: Where labels come from.
        settings: Where things are kept.
        plan: Budget, epochs, seed, device.
        bars: Makes a progress bar for each stage.
        until: The stage after which to stop.

    Raises:
        StageError: A stage cannot do its work; the message says what is missing.
    """
    if until not in _STEPS:
        raise StageError(f"A round has no stage {until!r}. {nearest(until, _STEPS)}")
    this = rounds.of_dataset(settings.home, dataset.name, number)
    page = this.folder / "report.html"
    this.expect_of(queries.identity(dataset))
    work = _Work(dataset, this, first, labeler, settings, plan, bars)
    if until in _JUDGING and _is_stale(work):
        logger.info("The champion is another one since round %d was evaluated.", number)
        this.forget("evaluate")
    if this.is_done(until):
        return RoundResult(this, report=page if page.is_file() else None, changed=False)
    start = work.start  # refuses a round whose turn has not come, before anything is written
    this.begin(
        dataset=dataset.name,
        dataset_id=queries.identity(dataset),
        manifest=start.manifest.name,
        taxonomy=start.taxonomy.name,
        labeler=labeler.name,
        seed=plan.seed,
    )
    for verb, step in _STEPS.items():
        waiting = step(work)
        if waiting:
            return RoundResult(this, waiting=waiting, where=labeler.where)
        if verb == until:
            break
    return RoundResult(this, report=page if this.is_done("report") else None)


def budget(dataset: Dataset, asked: int | None) -> int:
    """Return how many samples to choose: as asked, or a tenth of the pool."""
    return asked if asked is not None else max(LEAST_BUDGET, len(queries.pool(dataset)) // 10)


@dataclass
class _Work:
    """What the steps of one round share."""

    dataset: Dataset
    this: Round
    first: Ensemble
    labeler: Labeler
    settings: Settings
    plan: Plan
    bars: Bars

    @property
    def device(self) -> torch.device:
        return self.plan.device or default_device()

    @property
    def start(self) -> Ensemble:
        """What the round begins with: the newest ensemble that is not known to be worse."""
        if self.this.start.is_dir():
            return Ensemble.load(self.this.start)
        if self.this.number == 1:
            return self.first
        before = rounds.of_dataset(self.settings.home, self.dataset.name, self.this.number - 1)
        if not before.is_done("report"):
            raise StageError(
                f"Round {before.number} is not finished, so round {self.this.number} cannot "
                f"begin. Run round {before.number} first."
            )
        verdict = before.read(rounds.VERDICT) or {}
        worse = verdict.get("upper") is not None and verdict["upper"] < 0
        return Ensemble.load(before.start if worse else before.ensemble)


def _predict(work: _Work) -> int:
    work.this.do(
        "predict",
        lambda: asdict(
            predict(work.dataset, work.start, device=work.device, progress=work.bars("predict"))
        ),
    )
    return 0


def _calibrate(work: _Work) -> int:
    """Fit what the first round has no fit of, and keep the start with the round."""

    def fitted() -> Mapping[str, Any]:
        start = work.start
        ready = start if start.calibration.calibrated_members else calibrate(work.dataset, start)
        ready.save(work.this.start)
        return {"calibrated": ready.calibration.calibrated_members, "ensemble": ready.identity}

    work.this.do("calibrate", fitted)
    return 0


def _fuse(work: _Work) -> int:
    work.this.do("fuse", lambda: asdict(fuse(work.dataset, work.start, progress=work.bars("fuse"))))
    return 0


def _examine(work: _Work) -> int:
    """Look closer where the ensemble has members for it, and fuse what they say."""

    def examined() -> Mapping[str, Any]:
        looked = examine(
            work.dataset,
            work.start,
            folder=work.settings.artifacts(work.dataset.name),
            mode=work.plan.mode,
            device=work.device,
            progress=work.bars("examine"),
        )
        heard = calibrate(work.dataset, work.start)
        heard.save(work.this.start)
        fused = fuse(work.dataset, heard, progress=work.bars("fuse"))
        settled = adjudicate(work.dataset, heard, progress=work.bars("adjudicate"))
        return {**asdict(looked), "fused": fused.fused, "adjudicated": asdict(settled)}

    if any(estimators(work.start).values()):
        work.this.do("examine", examined)
    return 0


def _embed(work: _Work) -> int:
    work.this.do(
        "embed",
        lambda: asdict(
            embed(
                work.dataset,
                work.start,
                folder=work.settings.vectors(work.dataset.name),
                device=work.device,
                progress=work.bars("embed"),
            )
        ),
    )
    return 0


def _score(work: _Work) -> int:
    """Rank by hardness, unless no member is calibrated: then its disagreement means nothing."""
    if work.start.calibration.calibrated_members:
        work.this.do(
            "score",
            lambda: asdict(score(work.dataset, ensemble=work.start, progress=work.bars("score"))),
        )
    return 0


def _choose(work: _Work) -> int:
    work.this.do(
        "choose",
        lambda: asdict(
            choose(
                work.dataset,
                round_number=work.this.number,
                budget=budget(work.dataset, work.plan.budget),
                seed=work.plan.seed,
                use_hardness=bool(work.start.calibration.calibrated_members),
                progress=work.bars("choose"),
            )
        ),
    )
    return 0


def _label(work: _Work) -> int:
    if work.this.is_done("label"):
        return 0
    labeled = label(work.dataset, work.this.number, work.labeler)
    if labeled.waiting == 0:
        work.this.note(labeler=work.labeler.name)  # the round may have begun with another
        keep(work.dataset, work.this)
        work.this.do("label", lambda: asdict(labeled))
    return labeled.waiting


def _train(work: _Work) -> int:
    def fitted() -> Mapping[str, Any]:
        start = work.start
        before = work.this.record().get("run")
        tracked = Runs.of(work.settings)
        with tracked.open(work.dataset.name, run_id=before, called=work.this.tag) as run:
            work.this.note(run=run)
            result = train(
                work.dataset,
                start,
                work.this.folder,
                epochs=work.plan.epochs,
                seed=work.plan.seed + work.this.number,
                focus=work.plan.focus,
                device=work.device,
                progress=work.bars("train"),
            )
        after = result.ensemble.identity
        work.this.note(ensemble_before=start.identity, ensemble_after=after)
        return {"examples": result.examples, "members": dict(result.members)}

    work.this.do("train", fitted)
    return 0


def _evaluate(work: _Work) -> int:
    def measured() -> Mapping[str, Any]:
        both = {"champion": _champion(work), "challenger": Ensemble.load(work.this.ensemble)}
        results = evaluate(work.dataset, both, device=work.device, progress=work.bars("evaluate"))
        work.this.write(rounds.CHAMPION, results["champion"])
        work.this.write(rounds.CHALLENGER, results["challenger"])
        shown = ("mcc", "map50", "ece", "n_images", "n_positive")
        return {name: {key: one[key] for key in shown} for name, one in results.items()}

    work.this.do("evaluate", measured)
    return 0


def _is_stale(work: _Work) -> bool:
    """Return whether the gate would refuse the evaluation: another champion is in service now.

    The challenger may be it, where `publish` was cut off after it promoted.
    """
    if not work.this.is_done("evaluate") or work.this.is_done("publish"):
        return False
    judged = [work.this.read(one) or {} for one in (rounds.CHAMPION, rounds.CHALLENGER)]
    return _champion(work).identity not in [one.get("ensemble") for one in judged]


def _champion(work: _Work) -> Ensemble:
    """Return the champion in service; at the very first round, what the round began with."""
    folder = tracking.champion_folder(
        work.dataset.name, work.settings, into=work.this.folder / "champion"
    )
    return Ensemble.load(folder) if folder else work.start


def _publish(work: _Work) -> int:
    work.this.do(
        "publish",
        lambda: asdict(
            publish(
                work.this,
                dataset_name=work.dataset.name,
                champion=_champion(work),
                challenger=Ensemble.load(work.this.ensemble),
                settings=work.settings,
                sign_off_needed=work.plan.sign_off,
            )
        ),
    )
    return 0


def _report(work: _Work) -> int:
    work.this.note(failures=reader.failures(work.dataset))
    work.this.do("report", lambda: {"page": report(work.dataset, work.this, work.settings).name})
    return 0


_JUDGING = ("evaluate", "publish", "report")
_STEPS: Mapping[str, Callable[[_Work], int]] = {
    "predict": _predict,
    "calibrate": _calibrate,
    "fuse": _fuse,
    "examine": _examine,
    "embed": _embed,
    "score": _score,
    "choose": _choose,
    "label": _label,
    "train": _train,
    "evaluate": _evaluate,
    "publish": _publish,
    "report": _report,
}
