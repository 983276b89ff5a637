"""Rounds, complete or up to one stage: label, train, evaluate, publish, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from curation.api.datasets import connected, ensemble
from curation.api.deprecation import accept_licence

if TYPE_CHECKING:
    from fiftyone import Dataset

    from cascade.checkpoints.licenses import LicenseKind
    from curation.pipeline.run_round import RoundResult
    from curation.settings import Settings
    from curation.stages.examine import Mode
    from curation.stages.publish import PublishResult
    from curation.stages.reproduce import ReproduceResult
    from curation.stages.withdraw import WithdrawResult
    from curation.storage.rounds import Round


class Options(TypedDict, total=False):
    """Options of a round.

    Attributes:
        manifest: Manifest of round 1, a packaged name or a YAML file; later rounds start from what
            the last one trained. Default: `tiny`.
        taxonomy: See `ensemble`.
        labeler: `oracle` (held-back labels; the default), `label-studio`, `cvat`, `files`, `yolo`,
            `voc` or `datumaro`.
        budget: Samples to choose. Default: a tenth of the pool, at least 20.
        epochs: Passes over the labeled samples, at most. Default: 12.
        seed: Random seed for selection and training. Default: 0.
        mode: `full` (the default) or `routed`; see `predict`.
        strictest_license: Strictest license kind of the members. Default: any.
        blur: Content to hide in images sent to annotators: `faces`. Default: none.
        focus: Whether training oversamples what the champion fails at. Default: no.
        sign_off: Whether a promotion waits for a person (`cu.promote`). Default: no.
        licence: Deprecated name of `strictest_license`.
    """

    manifest: str | Path
    taxonomy: str | None
    labeler: str
    budget: int | None
    epochs: int
    seed: int
    mode: Mode
    strictest_license: LicenseKind | None
    licence: LicenseKind | None
    blur: Sequence[str]
    focus: bool
    sign_off: bool


@accept_licence
def run_round(
    dataset: Dataset, round_number: int = 1, *, until: str = "report", **options: Unpack[Options]
) -> RoundResult:
    """Run a round to its report, or as far as labels allow. Resumable.

    Example:
        >>> result = cu.run_round(dataset, labeler="files", budget=100)
        >>> result.waiting, result.instructions  # label them, then call it again

    Args:
        dataset: A FiftyOne dataset with labeled validation and test splits, and a pool.
        round_number: The round, from 1; earlier rounds must be finished.
        until: The last stage to run.
        **options: See `Options`.

    Raises:
        StageError: A stage cannot run; the message says what is missing.
    """
    from curation.labeling import factory
    from curation.pipeline import run_round as pipeline_round

    settings = connected()
    first = ensemble(
        dataset,
        options.get("manifest", "tiny"),
        taxonomy=options.get("taxonomy"),
        strictest_license=options.get("strictest_license"),
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
    """Send the chosen samples to the labeler, and pull the submitted labels.

    Example:
        >>> cu.label(dataset, labeler="files").waiting

    Args:
        dataset: See `run_round`.
        round_number: The round.
        **options: See `Options`.
    """
    return run_round(dataset, round_number, until="label", **options)


def train(dataset: Dataset, round_number: int = 1, **options: Unpack[Options]) -> Mapping[str, Any]:
    """Fine-tune every detector on the labeled pool, and refit the calibration.

    Example:
        >>> cu.train(dataset, epochs=12)["members"]["tiny_center"]["val_map50"]

    Args:
        dataset: See `run_round`.
        round_number: The round.
        **options: See `Options`.

    Returns:
        `examples`, the number of labeled images, and `members`, the report of each fit.

    Raises:
        StageError: Chosen samples still wait for labels.
    """
    round_ = _run_until(dataset, round_number, "train", options)
    return _summary(round_, "train")


def evaluate(
    dataset: Dataset, round_number: int = 1, **options: Unpack[Options]
) -> Mapping[str, Any]:
    """Measure champion and challenger on the frozen test split.

    Example:
        >>> evaluations = cu.evaluate(dataset)
        >>> evaluations["champion"]["mcc"], evaluations["challenger"]["mcc"]

    Args:
        dataset: See `run_round`.
        round_number: The round.
        **options: See `Options`.

    Returns:
        All metrics of the `champion` and of the `challenger`.

    Raises:
        StageError: Chosen samples still wait for labels.
    """
    from curation.storage import rounds

    round_ = _run_until(dataset, round_number, "evaluate", options)
    files = {"champion": rounds.CHAMPION, "challenger": rounds.CHALLENGER}
    return {name: round_.read(file) for name, file in files.items()}


def publish(dataset: Dataset, round_number: int = 1, **options: Unpack[Options]) -> PublishResult:
    """Register the challenger, and judge it by the gate.

    Example:
        >>> cu.publish(dataset).sentence

    Args:
        dataset: See `run_round`.
        round_number: The round.
        **options: See `Options`.

    Raises:
        StageError: Chosen samples still wait for labels.
        PublishError: The registry rejects the challenger.
    """
    from curation.stages.publish import PublishResult

    round_ = _run_until(dataset, round_number, "publish", options)
    return PublishResult(**_summary(round_, "publish"))


def report(dataset: Dataset, round_number: int = 1) -> Path:
    """Write the report of a round, finished or not, and return its path.

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
    """Withdraw the last round: its choice, ground truth and tasks. Does not ask for confirmation.

    Example:
        >>> cu.withdraw(dataset, 2).extent

    Args:
        dataset: A FiftyOne dataset.
        round_number: The last round.
        labeler: The labeler with its tasks, if they were pushed by `push`; None for the recorded
            one.

    Raises:
        StageError: A later round exists, or the round is empty.
        LabelingError: The labeler does not remove its tasks; then nothing is removed.
    """
    from curation.labeling import factory
    from curation.stages.withdraw import withdraw as run

    round_, settings = _round(dataset, round_number)
    name = labeler or round_.record().get("labeler")
    backend = None if name in (None, "oracle") else factory.create(name, dataset, settings)
    return run(dataset, round_, backend)


def reproduce(dataset: Dataset, round_number: int = 1) -> ReproduceResult:
    """Check whether the training data of a round is unchanged, and list the differences.

    Example:
        >>> cu.reproduce(dataset, 1).identical

    Args:
        dataset: A FiftyOne dataset.
        round_number: A labeled round.

    Raises:
        StageError: The round was not labeled, or its snapshot was modified.
    """
    from curation.stages.reproduce import reproduce as run

    round_, _ = _round(dataset, round_number)
    return run(dataset, round_)


def _round(dataset: Dataset, number: int) -> tuple[Round, Settings]:
    from curation.storage import rounds

    settings = connected()
    return rounds.get_round(settings.home, dataset.name, number), settings


def _run_until(dataset: Dataset, number: int, stage: str, options: Options) -> Round:
    """Run a round up to a stage, and return it.

    Raises:
        StageError: Chosen samples still wait for labels.
    """
    from curation.errors import StageError

    result = run_round(dataset, number, until=stage, **options)
    if result.waiting:
        raise StageError(
            f"Round {number} of {dataset.name!r} waits for the labels of {result.waiting} chosen "
            f"samples. {result.instructions} Call it again when they are labeled."
        )
    return result.round


def _summary(round_: Round, stage: str) -> dict[str, Any]:
    summary: dict[str, Any] = round_.record()["stages"][stage]["summary"]
    return summary
