"""One round: all stages in order, resumable.

Each stage does only what is missing and is recorded when it is done, so an interrupted round
continues from its last stage on the next call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cascade.ensemble import Ensemble
from cascade.errors import nearest
from cascade.runtime.devices import default_device
from curation import tracking
from curation.errors import StageError
from curation.labeling.protocol import Labeler
from curation.pipeline.predict import Bars, predict_deep_tiers
from curation.pipeline.run_stage import run_stage
from curation.presentation import refresh
from curation.settings import Settings
from curation.stages.calibrate import calibrate
from curation.stages.choose import choose
from curation.stages.embed import embed
from curation.stages.evaluate import evaluate
from curation.stages.examine import Mode
from curation.stages.fuse import fuse
from curation.stages.label import label
from curation.stages.predict import predict
from curation.stages.publish import publish
from curation.stages.report import PAGE, report
from curation.stages.reproduce import save_snapshot
from curation.stages.score import score
from curation.stages.train import train
from curation.storage import queries, reader, rounds
from curation.storage.rounds import Round
from curation.tracking.runs import Runs

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

logger = logging.getLogger(__name__)

LEAST_BUDGET = 20
_GATED = ("evaluate", "publish", "report")  # stages that depend on the champion in service
_SUMMARY_METRICS = ("mcc", "map50", "ece", "n_images", "n_positive")


@dataclass(frozen=True)
class Plan:
    """Options of a round.

    Attributes:
        budget: Samples to choose; None for a tenth of the pool, at least `LEAST_BUDGET`.
        epochs: Passes over the labeled samples, at most.
        seed: Random seed for selection and training.
        mode: Deep tiers on every sample (`full`), or only on the path of the cascade (`routed`).
        device: Device of all models; None for the first GPU, else the CPU.
        focus: Whether training oversamples what the champion fails at; see `train`.
        sign_off: Whether a promotion waits for a person; see `publish`.
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
    """Outcome of a call of `run_round`.

    Attributes:
        round: The round.
        waiting: Chosen samples without labels; the round continues when they are labeled.
        instructions: Where to label them, as a sentence.
        report: Path of the report; None while the round is unfinished.
        changed: Whether this call ran any stage.
    """

    round: Round
    waiting: int = 0
    instructions: str = ""
    report: Path | None = None
    changed: bool = True

    @property
    def where(self) -> str:
        """Deprecated name of `instructions`."""
        return self.instructions


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
    """Run a round to its report, or as far as labels allow.

    Args:
        dataset: A FiftyOne dataset with labeled validation and test splits and a pool.
        number: The round, from 1; earlier rounds must be finished.
        first: The ensemble of round 1; later rounds start from what the last one trained.
        labeler: Source of labels.
        settings: Settings with the home folder of rounds and the registry.
        plan: Options of the round.
        bars: Maker of each stage's progress bar.
        until: The last stage to run.

    Raises:
        StageError: A stage cannot run; the message says what is missing.
    """
    if until not in _STAGES:
        raise StageError(f"A round has no stage {until!r}. {nearest(until, _STAGES)}")
    round_ = rounds.get_round(settings.home, dataset.name, number)
    page = round_.folder / PAGE
    round_.require_dataset(queries.dataset_id(dataset))
    run = _Run(dataset, round_, first, labeler, settings, plan, bars)
    if until in _GATED and run.is_evaluation_stale():
        logger.info("The champion has changed since round %d was evaluated.", number)
        round_.forget("evaluate")
    if round_.is_done(until):
        return RoundResult(round_, report=page if page.is_file() else None, changed=False)
    start = run.start  # raises before anything is written if the previous round is unfinished
    round_.begin(
        dataset=dataset.name,
        dataset_id=queries.dataset_id(dataset),
        manifest=start.manifest.name,
        taxonomy=start.taxonomy.name,
        labeler=labeler.name,
        seed=plan.seed,
    )
    for stage, summarize in _STAGES.items():
        if stage == "label":
            waiting = _label(run)
            if waiting:
                return RoundResult(round_, waiting=waiting, instructions=labeler.instructions)
        elif stage not in _CONDITIONS or _CONDITIONS[stage](run):
            round_.run_once(stage, partial(summarize, run))
        if stage == until:
            break
    return RoundResult(round_, report=page if round_.is_done("report") else None)


def resolve_budget(samples: SampleCollection, requested: int | None) -> int:
    """Return the number of samples to choose: as requested, or a tenth of the pool."""
    return (
        requested if requested is not None else max(LEAST_BUDGET, len(queries.pool(samples)) // 10)
    )


@dataclass
class _Run:
    """State shared by the stages of one round."""

    dataset: Dataset
    round: Round
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
        """The ensemble that the round starts from: the newest that is not known to be worse."""
        if self.round.start.is_dir():
            return Ensemble.load(self.round.start)
        if self.round.number == 1:
            return self.first
        before = rounds.get_round(self.settings.home, self.dataset.name, self.round.number - 1)
        if not before.is_done("report"):
            raise StageError(
                f"Round {self.round.number} cannot start before round {before.number} is "
                f"finished. Run round {before.number} first."
            )
        verdict = before.read(rounds.VERDICT) or {}
        worse = verdict.get("upper") is not None and verdict["upper"] < 0
        return Ensemble.load(before.start if worse else before.ensemble)

    @property
    def is_calibrated(self) -> bool:
        """Whether any member of the starting ensemble is calibrated."""
        return bool(self.start.calibration.calibrated_members)

    @property
    def champion(self) -> Ensemble:
        """The champion in service; in the very first round, the starting ensemble."""
        folder = tracking.champion_folder(
            self.dataset.name, self.settings, into=self.round.folder / "champion"
        )
        return Ensemble.load(folder) if folder else self.start

    def is_evaluation_stale(self) -> bool:
        """Return whether the champion in service is neither of the evaluated ensembles.

        The challenger is in service if `publish` was interrupted after promoting it.
        """
        if not self.round.is_done("evaluate") or self.round.is_done("publish"):
            return False
        evaluations = [self.round.read(name) or {} for name in (rounds.CHAMPION, rounds.CHALLENGER)]
        return self.champion.identity not in [
            evaluation.get("ensemble") for evaluation in evaluations
        ]


def _predict(run: _Run) -> dict[str, Any]:
    return asdict(predict(run.dataset, run.start, device=run.device, progress=run.bars("predict")))


def _calibrate(run: _Run) -> dict[str, Any]:
    """Calibrate an uncalibrated start, and save it with the round."""
    start = run.start if run.is_calibrated else calibrate(run.dataset, run.start)
    start.save(run.round.start)
    return {"calibrated": start.calibration.calibrated_members, "ensemble": start.identity}


def _fuse(run: _Run) -> dict[str, Any]:
    return asdict(run_stage(fuse, run.dataset, run.start, progress=run.bars("fuse")))


def _examine(run: _Run) -> dict[str, Any]:
    result = predict_deep_tiers(
        run.dataset, run.start, folder=run.settings.artifacts(run.dataset.name),
        mode=run.plan.mode, device=run.device, recalibrate=True, bars=run.bars,
    )  # fmt: skip
    result.ensemble.save(run.round.start)
    return {
        **asdict(result.examine),
        "fused": result.fuse.fused,
        "adjudicated": asdict(result.adjudicate),
    }


def _embed(run: _Run) -> dict[str, Any]:
    folder = run.settings.vectors(run.dataset.name)
    progress = run.bars("embed")
    return asdict(
        embed(run.dataset, run.start, folder=folder, device=run.device, progress=progress)
    )


def _score(run: _Run) -> dict[str, Any]:
    return asdict(run_stage(score, run.dataset, ensemble=run.start, progress=run.bars("score")))


def _choose(run: _Run) -> dict[str, Any]:
    result = run_stage(
        choose, run.dataset, round_number=run.round.number,
        budget=resolve_budget(run.dataset, run.plan.budget), seed=run.plan.seed,
        use_hardness=run.is_calibrated, progress=run.bars("choose"),
    )  # fmt: skip
    return asdict(result)


def _label(run: _Run) -> int:
    """Push and pull labels; return how many samples still wait."""
    if run.round.is_done("label"):
        return 0
    result = run_stage(label, run.dataset, run.round.number, run.labeler)
    if result.waiting == 0:
        run.round.note(labeler=run.labeler.name)  # may differ from that of the round's start
        save_snapshot(run.dataset, run.round)
        run.round.run_once("label", partial(asdict, result))
    return result.waiting


def _train(run: _Run) -> dict[str, Any]:
    start = run.start
    run_id = run.round.record().get("run")
    runs = Runs.from_settings(run.settings)
    with runs.open(run.dataset.name, run_id=run_id, run_name=run.round.tag) as run_id:
        run.round.note(run=run_id)
        result = train(
            run.dataset, start, run.round.folder, epochs=run.plan.epochs,
            seed=run.plan.seed + run.round.number, focus=run.plan.focus, device=run.device,
            progress=run.bars("train"),
        )  # fmt: skip
    run.round.note(ensemble_before=start.identity, ensemble_after=result.ensemble.identity)
    return {"examples": result.examples, "members": dict(result.members)}


def _evaluate(run: _Run) -> dict[str, Any]:
    ensembles = {"champion": run.champion, "challenger": Ensemble.load(run.round.ensemble)}
    results = evaluate(run.dataset, ensembles, device=run.device, progress=run.bars("evaluate"))
    run.round.write(rounds.CHAMPION, results["champion"])
    run.round.write(rounds.CHALLENGER, results["challenger"])
    refresh.after_evaluation(run.dataset)
    return {
        name: {metric: result[metric] for metric in _SUMMARY_METRICS}
        for name, result in results.items()
    }


def _publish(run: _Run) -> dict[str, Any]:
    result = publish(
        run.round, dataset_name=run.dataset.name, champion=run.champion,
        challenger=Ensemble.load(run.round.ensemble), settings=run.settings,
        sign_off_needed=run.plan.sign_off,
    )  # fmt: skip
    return asdict(result)


def _report(run: _Run) -> dict[str, Any]:
    run.round.note(failures=reader.read_failures(run.dataset))
    return {"page": report(run.dataset, run.round, run.settings).name}


_STAGES: Mapping[str, Callable[[_Run], Any]] = {
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
_CONDITIONS: Mapping[str, Callable[[_Run], bool]] = {
    "examine": lambda run: any(run.start.deep_tier_members().values()),
    "score": lambda run: run.is_calibrated,  # disagreement of raw scores means nothing
}
