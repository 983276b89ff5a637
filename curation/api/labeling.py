"""What labeling will take, tasks out, labels in, and the labels that look wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.api.datasets import connected, ensemble

if TYPE_CHECKING:
    from fiftyone import Dataset

    from curation.labeling.cost.preview import Preview
    from curation.labeling.label_studio.sync import Synced
    from curation.labeling.protocol import PushResult
    from curation.stages.label import LabelResult
    from curation.stages.review import ReviewResult


_SERVER = "label-studio"


def preview(dataset: Dataset, budget: int | None = None, *, round_number: int = 1) -> Preview:
    """Say what labeling a round will cost, and whether the last rounds were worth it.

    Example:
        >>> cu.preview(dataset, budget=200).cost.sentence

    Args:
        dataset: A FiftyOne dataset that was scored.
        budget: How many would be chosen, where the round has not chosen yet; None for a tenth.
        round_number: The round that is to be labeled.

    Raises:
        StageError: Nothing is left to label, or the pool was not scored.
    """
    from curation.labeling.cost.inputs import outlook
    from curation.pipeline import run_round

    settings = connected()
    return outlook(dataset, round_number, settings, budget=run_round.budget(dataset, budget))


def push(dataset: Dataset, round_number: int = 1, *, labeler: str = _SERVER) -> PushResult:
    """Hand over the round's samples that wait for labels, each once, however often it is called.

    Example:
        >>> cu.push(dataset, labeler="files").where

    Args:
        dataset: A FiftyOne dataset, made by `ingest`.
        round_number: The round that chose them.
        labeler: `label-studio` (LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY say where), `cvat`,
            `files`, `yolo`, `voc` or `datumaro`.

    Raises:
        LabelingError: The dataset has no taxonomy, or the labeler does not take the tasks.
        StageError: The round has chosen nothing.
    """
    from curation.labeling import factory
    from curation.labeling.label_studio.sync import OnlyPush
    from curation.stages.label import label

    taker: Any = factory.create(labeler, dataset, connected())
    once = OnlyPush(taker)
    label(dataset, round_number, once)
    return once.result


def pull(
    dataset: Dataset, round_number: int = 1, *, labeler: str | None = None
) -> Synced | LabelResult:
    """Take over what was submitted. From Label Studio also what was changed or deleted since.

    Example:
        >>> cu.pull(dataset).waiting

    Args:
        dataset: A FiftyOne dataset, made by `ingest`.
        round_number: The round that was pushed.
        labeler: As for `push`; None for who was handed the tasks.

    Returns:
        How much came, and how many samples still wait.

    Raises:
        LabelingError: The labeler cannot give back its answers.
    """
    from curation.labeling import factory
    from curation.labeling.label_studio.sync import take_over
    from curation.stages.label import label
    from curation.storage import queries, schema

    settings = connected()
    name = schema.round_tag(round_number)
    known = queries.remembered(dataset, schema.PUSHED.format(name)) or {}
    giver: Any = factory.create(labeler or known.get("labeler", _SERVER), dataset, settings)
    if giver.name != _SERVER:
        return label(dataset, round_number, giver)
    with giver.alone():
        return take_over(dataset, round_number, giver, giver.look(name))


def review(dataset: Dataset, *, limit: int = 200, manifest: str | Path = "tiny") -> ReviewResult:
    """Mark boxes of the ground truth that look wrong: the tag, field and saved view `review`.

    Example:
        >>> cu.review(dataset, limit=50).kinds
        >>> dataset.load_saved_view("review")

    Args:
        dataset: A FiftyOne dataset with ground truth, on which the manifest's members predicted.
        limit: Boxes to mark at most, the surest errors first.
        manifest: Whose predictions are believed.

    Raises:
        StageError: There is no ground truth or no consensus to compare.
    """
    from curation.stages.review import review as run

    connected()
    return run(dataset, ensemble(dataset, manifest), limit=limit)
