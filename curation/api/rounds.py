"""Whole rounds, and a round as far as one stage: label, train, evaluate, publish, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from curation.api.datasets import connected, ensemble

if TYPE_CHECKING:
    from fiftyone import Dataset

    from cascade.checkpoints.licenses import Kind
    from curation.pipeline.run_round import RoundResult
    from curation.stages.examine import Mode
    from curation.stages.publish import PublishResult
    from curation.stages.reproduce import ReproduceResult
    from curation.stages.withdraw import WithdrawResult
    from curation.storage.rounds import Round


class Options(TypedDict, total=False):
    """How a round is run.

    Attributes:
        manifest: Of round 1, a packaged name or a YAML file; later ones go on with what was
            trained. Default: `tiny`.
        taxonomy: As for `ensemble`.
        labeler: `oracle` (held-back labels; the default), `label-studio`, `cvat`, `files`, `yolo`,
            `voc` or `datumaro`.
        budget: Samples to choose. Default: a tenth of the pool, at least 20.
        epochs: Passes over the labeled samples, at most. Default: 12.
        seed: Of the random arm and of the fits. Default: 0.
        mode: `full` (the default) or `routed`: see `predict`.
        licence: The strictest kind of licence that members may have.
        blur: What to hide in the copies of images that leave: `faces`.
        focus: Whether training shows more often what the champion fails at. Default: no.
        sign_off: Whether a promotion waits for a person: `cu.promote`. Default: no.
    """

    manifest: str | Path
    taxonomy: str | None
    labeler: str
    budget: int | None
    epochs: int
    seed: int
    mode: Mode
    licence: Kind | None
    blur: Sequence[str]
    focus: bool
    sign_off: bool


def run_round(
    dataset: Dataset, round_number: int = 1, *, until: str = "report", **options: Unpack[Options]
) -> RoundResult:
    """Carry a round to its report, or as far as labels allow; what is done is left as it is.

    Example:
        >>> result = cu.run_round(dataset, labeler="files", budget=100)
        >>> result.waiting, result.where  # label them, then call it again

    Args:
        dataset: A FiftyOne dataset with labeled validation and test splits, and a pool.
        round_number: The round, from 1; the ones before must be finished.
        until: The stage after which to stop.
        **options: See `Options`.

    Raises:
        StageError: A stage cannot do its work; the message says what is missing.
    """
    from curation.labeling import factory
    from curation.pipeline import run_round as pipeline_round

    settings = connected()
    first = ensemble(
        dataset,
        options.get("manifest", "tiny"),
        taxonomy=options.get("taxonomy"),
        licence=options.get("licence"),
        fresh=True,
    )
    labeler = factory.create(
        options.get("labeler", "oracle"), dataset, settings, blur=options.get("blur", ())
    )
    plan = pipeline_round.Plan(
        budget=options.get("budget"),
        epochs=options.get("epochs", 12),
        seed=options.get("seed", 0),
        mode=options.get("mode", "full"),
        focus=options.get("focus", False),
        sign_off=options.get("sign_off", False),
    )
    return pipeline_round.run_round(
        dataset, round_number, first, labeler, settings, plan=plan, until=until
    )


def label(dataset: Dataset, round_number: int = 1, **options: Unpack[Options]) -> RoundResult:
    """Send the chosen samples out and fetch what was labeled.

    Example:
        >>> cu.label(dataset, labeler="files").waiting

    Args:
        dataset: As for `run_round`.
        round_number: The round.
        **options: See `Options`.
    """
    return run_round(dataset, round_number, until="label", **options)


def train(dataset: Dataset, round_number: int = 1, **options: Unpack[Options]) -> Mapping[str, Any]:
    """Fine-tune every detector on the labeled pool, and refit the calibration.

    Example:
        >>> cu.train(dataset, epochs=12)["members"]["tiny_center"]["val_map50"]

    Args:
        dataset: As for `run_round`.
        round_number: The round.
        **options: See `Options`.

    Returns:
        `examples`, the number of labeled images, and what each fit did under `members`.

    Raises:
        StageError: Chosen samples still wait for labels.
    """
    done = _carried(dataset, round_number, "train", options)
    return _summary(done, "train")


def evaluate(
    dataset: Dataset, round_number: int = 1, **options: Unpack[Options]
) -> Mapping[str, Any]:
    """Measure champion and challenger on the frozen test split.

    Example:
        >>> found = cu.evaluate(dataset)
        >>> found["champion"]["mcc"], found["challenger"]["mcc"]

    Args:
        dataset: As for `run_round`.
        round_number: The round.
        **options: See `Options`.

    Returns:
        Every figure of the `champion` and of the `challenger`.

    Raises:
        StageError: Chosen samples still wait for labels.
    """
    from curation.storage import rounds

    done = _carried(dataset, round_number, "evaluate", options)
    files = {"champion": rounds.CHAMPION, "challenger": rounds.CHALLENGER}
    return {name: done.read(file) for name, file in files.items()}


def publish(dataset: Dataset, round_number: int = 1, **options: Unpack[Options]) -> PublishResult:
    """Register the challenger and let the gate judge it.

    Example:
        >>> cu.publish(dataset).sentence

    Args:
        dataset: As for `run_round`.
        round_number: The round.
        **options: See `Options`.

    Raises:
        StageError: Chosen samples still wait for labels.
        PublishError: The registry refuses.
    """
    from curation.stages.publish import PublishResult

    done = _carried(dataset, round_number, "publish", options)
    return PublishResult(**_summary(done, "publish"))


def report(dataset: Dataset, round_number: int = 1) -> Path:
    """Write the round's page, as far as the round went, and return where it is.

    Example:
        >>> cu.report(dataset).as_uri()

    Args:
        dataset: A FiftyOne dataset.
        round_number: The round.
    """
    from curation.stages.report import report as write

    return write(dataset, *_round(dataset, round_number))


def withdraw(
    dataset: Dataset, round_number: int = 1, *, labeler: str | None = None
) -> WithdrawResult:
    """Take the last round back: its choice, its ground truth and its tasks. It does not ask.

    Example:
        >>> cu.withdraw(dataset, 2).extent

    Args:
        dataset: A FiftyOne dataset.
        round_number: The last round.
        labeler: Who has its tasks, where they were handed over by `push`; None for who is on
            record.

    Raises:
        StageError: A later round exists, or there is nothing of this one.
        LabelingError: The labeler does not take its tasks back: then nothing was removed.
    """
    from curation.labeling import factory
    from curation.stages.withdraw import withdraw as run

    this, settings = _round(dataset, round_number)
    asked = labeler or this.record().get("labeler")
    holder = None if asked in (None, "oracle") else factory.create(asked, dataset, settings)
    return run(dataset, this, holder)


def reproduce(dataset: Dataset, round_number: int = 1) -> ReproduceResult:
    """Say whether all that a round was trained on is still the same, and what is not.

    Example:
        >>> cu.reproduce(dataset, 1).identical

    Args:
        dataset: A FiftyOne dataset.
        round_number: A round that was labeled.

    Raises:
        StageError: The round was not labeled, or what was kept of it was changed.
    """
    from curation.stages.reproduce import reproduce as run

    this, _ = _round(dataset, round_number)
    return run(dataset, this)


def _round(dataset: Dataset, number: int) -> tuple[Round, Any]:
    from curation.storage import rounds

    settings = connected()
    return rounds.of_dataset(settings.home, dataset.name, number), settings


def _carried(dataset: Dataset, number: int, stage: str, options: Options) -> Round:
    """Return the round once it is carried as far as a stage.

    Raises:
        StageError: Chosen samples still wait for labels.
    """
    from curation.errors import StageError

    result = run_round(dataset, number, until=stage, **options)
    if result.waiting:
        raise StageError(
            f"Round {number} of {dataset.name!r} waits for the labels of {result.waiting} chosen "
            f"samples. {result.where} Call it again when they are labeled."
        )
    return result.round


def _summary(this: Round, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = this.record()["stages"][stage]["summary"]
    return found
