"""The stages that need nobody's answer: ingest, adopt, predict, embed, score, choose, distil."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cascade.runtime.progress import Progress
from curation.api.datasets import connected, ensemble

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

    from cascade.checkpoints.licenses import Kind
    from curation.stages.adjudicate import AdjudicateResult
    from curation.stages.adopt import AdoptResult
    from curation.stages.choose import ChooseResult
    from curation.stages.distil import DistilResult
    from curation.stages.embed import EmbedResult
    from curation.stages.examine import ExamineResult, Mode
    from curation.stages.fuse import FuseResult
    from curation.stages.ingest import IngestResult
    from curation.stages.predict import PredictResult
    from curation.stages.score import ScoreResult


@dataclass(frozen=True)
class Predicted:
    """What a call of `predict` did.

    Attributes:
        predict: The detectors.
        fuse: Their fused boxes and the image decision.
        examine: Depth, masks and language; None where the manifest has none of them.
        adjudicate: What was settled of what stayed in doubt; None as above.
    """

    predict: PredictResult
    fuse: FuseResult
    examine: ExamineResult | None = None
    adjudicate: AdjudicateResult | None = None


def ingest(
    source: str | Path,
    *,
    name: str | None = None,
    taxonomy: str = "roadwork_core",
    source_format: str = "auto",
    names: Sequence[str] | None = None,
    hold_back: bool = False,
    resplit: Sequence[float] | None = None,
    drive_pattern: str | None = None,
    fps: float = 1.0,
    progress: Progress | None = None,
) -> IngestResult:
    """Bring images and their labels into a dataset. A second call adds only what is new.

    Example:
        >>> cu.ingest("photos/", name="site", taxonomy="construction_site")
        >>> dataset = cu.load("site")

    Args:
        source: A folder of images, YOLO, COCO or VOC data, or videos.
        name: The dataset; None for the folder's name.
        taxonomy: A packaged name, or a YAML file.
        source_format: `auto`, `folder`, `yolo`, `coco`, `voc` or `video`.
        names: Class names of YOLO rows, in order, where no file tells them.
        hold_back: Keep the labels of train for the labeler `oracle`, to replay a project.
        resplit: Shares of train, val and test, such as `(0.7, 0.15, 0.15)`, to split anew by drive.
        drive_pattern: Regular expression that finds the drive in a file's name.
        fps: Frames a second taken from videos.
        progress: Told after every batch of files.

    Raises:
        IngestError: The source holds no images, or cannot be understood.
    """
    from cascade import taxonomy as taxonomies
    from curation.stages.ingest import ingest as run

    path = Path(source)
    wanted = name or path.resolve().name
    return run(
        path, name=wanted, taxonomy=taxonomies.load(taxonomy), settings=connected(wanted),
        source_format=source_format, names=names, hold_back=hold_back, resplit=resplit,
        drive_pattern=drive_pattern, fps=fps, progress=progress,
    )  # fmt: skip


def adopt(
    dataset: Dataset,
    *,
    taxonomy: str = "roadwork_core",
    ground_truth: str | None = None,
    split_from: str | None = None,
    hold_back: bool = False,
    progress: Progress | None = None,
) -> AdoptResult:
    """Take a dataset that you have into rounds; its own fields stay as they are.

    Example:
        >>> cu.adopt(dataset, taxonomy="construction_site", ground_truth="people")

    Args:
        dataset: A FiftyOne dataset of images.
        taxonomy: A packaged name, or a YAML file.
        ground_truth: The Detections field that people confirmed; None where nothing is labeled.
        split_from: The field with the split of each sample, or `tags`; None: all is the pool.
        hold_back: Keep the labels of train for the labeler `oracle`, to replay a project.
        progress: Told when fields are declared, splits and labels written.

    Raises:
        LabelingError: The dataset is not of images.
        StageError: It has another taxonomy already, or the field of splits names none.
        StoreError: `ground_truth` is no Detections field.
    """
    from cascade import taxonomy as taxonomies
    from curation.stages.adopt import adopt as run

    connected()
    return run(
        dataset,
        taxonomy=taxonomies.load(taxonomy),
        ground_truth=ground_truth,
        split_from=split_from,
        hold_back=hold_back,
        progress=progress,
    )


def predict(
    samples: SampleCollection,
    manifest: str | Path = "tiny",
    *,
    taxonomy: str | None = None,
    mode: Mode = "full",
    licence: Kind | None = None,
    progress: Progress | None = None,
) -> Predicted:
    """Run every member that has not looked at a sample yet, then fuse what they say.

    Each member writes a label field of its own name; `consensus` holds the fused boxes.

    Example:
        >>> cu.predict(dataset.match_tags("new"), manifest="roadwork_lite", mode="routed")

    Args:
        samples: A FiftyOne dataset or view.
        manifest: A packaged name, or a YAML file.
        taxonomy: As for `ensemble`.
        mode: Whether the deeper tiers look at every sample (`full`), or only where the cascade
            is unsure (`routed`).
        licence: The strictest kind of licence that members may have.
        progress: Told after every batch of the detectors.

    Raises:
        CascadeError: The manifest is wrong, or a member cannot run here.
    """
    from curation.inference.deep_tiers import estimators
    from curation.stages.adjudicate import adjudicate
    from curation.stages.examine import examine
    from curation.stages.fuse import fuse
    from curation.stages.predict import predict as run
    from curation.storage import queries

    settings = connected()
    members = ensemble(samples, manifest, taxonomy=taxonomy, licence=licence)
    predicted, fused = run(samples, members, progress=progress), fuse(samples, members)
    if not any(estimators(members).values()):
        return Predicted(predicted, fused)
    folder = settings.artifacts(queries.dataset_of(samples).name)
    looked = examine(samples, members, folder=folder, mode=mode)
    fused = fuse(samples, members)
    return Predicted(predicted, fused, looked, adjudicate(samples, members))


def embed(
    samples: SampleCollection,
    manifest: str | Path = "tiny",
    *,
    progress: Progress | None = None,
) -> EmbedResult:
    """Embed samples for similarity search, choosing and the UMAP picture.

    Example:
        >>> cu.embed(dataset)
        >>> dataset.sort_by_similarity(dataset.first().id, brain_key="similarity", k=10)

    Args:
        samples: A FiftyOne dataset or view.
        manifest: Its first embedding member makes the vectors.
        progress: Told after every batch.
    """
    from curation.stages.embed import embed as run
    from curation.storage import queries

    folder = connected().vectors(queries.dataset_of(samples).name)
    return run(samples, ensemble(samples, manifest), folder=folder, progress=progress)


def score(
    samples: SampleCollection,
    members: Sequence[str] | None = None,
    *,
    manifest: str | Path = "tiny",
    taxonomy: str | None = None,
    progress: Progress | None = None,
) -> ScoreResult:
    """Rank the unlabeled pool by hardness: where the members disagree most.

    Example:
        >>> cu.score(dataset, members=["my_yolo", "my_detr"])  # fields that you have: no model runs
        >>> dataset.sort_by("hardness", reverse=True).first().filepath

    Args:
        samples: A FiftyOne dataset or view.
        members: Detections fields to compare; None for what the manifest's members predicted.
        manifest: Whose calibration and weights hold; unused where `members` are named.
        taxonomy: What the labels of `members` mean; None where each means itself.
        progress: Told when the fields are read, scored and written.

    Raises:
        StoreError: A field is absent, or holds no boxes with confidences.
        StageError: There is no sample to rank.
    """
    from cascade import taxonomy as taxonomies
    from curation.stages.score import score as run

    connected()
    if members:
        classes = taxonomies.load(taxonomy) if taxonomy else None
        return run(samples, members=members, taxonomy=classes, progress=progress)
    return run(samples, ensemble=ensemble(samples, manifest), progress=progress)


def choose(
    samples: SampleCollection,
    budget: int | None = None,
    *,
    round_number: int = 1,
    seed: int = 0,
    use_hardness: bool = True,
    manifest: str | Path = "tiny",
    progress: Progress | None = None,
) -> ChooseResult:
    """Choose the next batch to label: hard, varied, and a random arm to compare with.

    A dataset without vectors is embedded first. A round that was chosen is not chosen again.

    Example:
        >>> cu.choose(dataset, budget=200)
        >>> dataset.match_tags("round-01").sort_by("rank")

    Args:
        samples: A FiftyOne dataset, or a view to choose from.
        budget: Samples to choose; None for a tenth of the pool, at least 20.
        round_number: Names the tag of the batch, such as `round-01`.
        seed: Of the random arm.
        use_hardness: False to choose by coverage only.
        manifest: Whose embedder makes vectors where the dataset has none.
        progress: Told when the pool is read, chosen and tagged.

    Raises:
        StageError: There is no pool, or no hardness yet.
    """
    from curation.pipeline import run_round
    from curation.stages.choose import choose as run
    from curation.storage import queries, schema

    connected()
    dataset = queries.dataset_of(samples)
    if not dataset.info.get(schema.EMBEDDER_INFO):
        embed(dataset, manifest)
    return run(
        samples, round_number=round_number, budget=run_round.budget(samples, budget), seed=seed,
        use_hardness=use_hardness, progress=progress,
    )  # fmt: skip


def distil(
    dataset: Dataset,
    *,
    manifest: str | Path = "tiny",
    epochs: int = 40,
    seed: int = 0,
    out: Path | None = None,
) -> DistilResult:
    """Make one fast student of an ensemble, and measure what it keeps of it.

    Example:
        >>> cu.distil(dataset).kept.sentence

    Args:
        dataset: A FiftyOne dataset with labeled training and validation samples.
        manifest: The ensemble, as its last round trained it.
        epochs: Passes over the labeled samples.
        seed: Of the student.
        out: Its folder; None for one of ours.

    Raises:
        StageError: Too few samples are labeled, or the ensemble has no detector.
    """
    from curation.stages.distil import distil as run

    settings = connected()
    folder = out or settings.dataset_folder(dataset.name) / "student"
    return run(dataset, ensemble(dataset, manifest), folder, epochs=epochs, seed=seed)
