"""Stages that run without people: ingest, adopt, predict, embed, score, choose, distill."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cascade.runtime.progress import Progress
from curation.api.datasets import connected, ensemble
from curation.api.deprecation import accept_licence

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

    from cascade.checkpoints.licenses import LicenseKind
    from curation.pipeline.predict import Bars, PredictionResult
    from curation.stages.adopt import AdoptResult
    from curation.stages.choose import ChooseResult
    from curation.stages.distill import DistillResult
    from curation.stages.embed import EmbedResult
    from curation.stages.examine import Mode
    from curation.stages.ingest import IngestResult
    from curation.stages.predict import Engine
    from curation.stages.score import ScoreResult


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
    """Ingest images and labels into a dataset. A second call adds only new files.

    Example:
        >>> cu.ingest("photos/", name="site", taxonomy="construction_site")
        >>> dataset = cu.load("site")

    Args:
        source: A folder of images, YOLO, COCO or VOC data, or videos.
        name: Name of the dataset; None for the folder's name.
        taxonomy: A packaged name, or a YAML file.
        source_format: `auto`, `folder`, `yolo`, `coco`, `voc` or `video`.
        names: Class names of YOLO rows, in order, if no file lists them.
        hold_back: Whether to hold back the labels of train for the labeler `oracle`.
        resplit: Shares of train, val and test, such as `(0.7, 0.15, 0.15)`, to split again by
            drive.
        drive_pattern: Regular expression that finds the drive in a file name.
        fps: Frames per second to extract from videos.
        progress: Callback after every batch of files.

    Raises:
        IngestError: The source holds no images, or cannot be parsed.
    """
    from cascade.taxonomy import load as load_taxonomy
    from curation.pipeline.run_stage import run_ingest

    path = Path(source)
    dataset = name or path.resolve().name
    return run_ingest(
        path, name=dataset, taxonomy=load_taxonomy(taxonomy), settings=connected(dataset),
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
    """Adopt an existing FiftyOne dataset for rounds. Its own fields stay unchanged.

    Example:
        >>> cu.adopt(dataset, taxonomy="construction_site", ground_truth="people")

    Args:
        dataset: A FiftyOne dataset of images.
        taxonomy: A packaged name, or a YAML file.
        ground_truth: A confirmed Detections field; None if nothing is labeled.
        split_from: Field with the split of each sample, or `tags`; None to put all samples into
            the pool.
        hold_back: Whether to hold back the labels of train for the labeler `oracle`.
        progress: Callback after declaring fields, writing splits and writing labels.

    Raises:
        LabelingError: The dataset does not hold images.
        StageError: The dataset has another taxonomy, or `split_from` names no split.
        StoreError: `ground_truth` is not a Detections field.
    """
    from cascade.taxonomy import load as load_taxonomy
    from curation.stages.adopt import adopt as run

    connected()
    return run(
        dataset,
        taxonomy=load_taxonomy(taxonomy),
        ground_truth=ground_truth,
        split_from=split_from,
        hold_back=hold_back,
        progress=progress,
    )


@accept_licence
def predict(
    samples: SampleCollection,
    manifest: str | Path = "tiny",
    *,
    taxonomy: str | None = None,
    mode: Mode = "full",
    strictest_license: LicenseKind | None = None,
    device: str | None = None,
    engine: Engine = "local",
    address: str | None = None,
    recalibrate: bool = False,
    progress: Progress | None = None,
    bars: Bars | None = None,
) -> PredictionResult:
    """Run every member on the samples that it has not seen, and fuse the votes.

    Each member writes a label field with its name; `consensus` holds the fused boxes.

    Example:
        >>> cu.predict(dataset.match_tags("new"), manifest="roadwork_lite", mode="routed")

    Args:
        samples: A FiftyOne dataset or view.
        manifest: A packaged name, or a YAML file.
        taxonomy: See `ensemble`.
        mode: Deep tiers on every sample (`full`), or only where the cascade is unsure (`routed`).
        strictest_license: Strictest license kind of the members; None for any.
        device: Device of all models, such as `cuda:1`; None for all GPUs, else the CPU.
        engine: `local` for the devices of this machine, `ray` for those of a cluster (detectors).
        address: Address of the Ray cluster; None to start one on this machine.
        recalibrate: Whether to refit the calibration on labeled validation samples before fusing.
        progress: Callback after every batch of the detectors.
        bars: Maker of each stage's progress callback, by the stage's name; replaces `progress`.

    Raises:
        CascadeError: The manifest is wrong, or a member cannot run here.
    """
    import torch

    from curation.pipeline.predict import predict as run
    from curation.storage.collection import dataset_of

    settings = connected()
    return run(
        samples,
        ensemble(samples, manifest, taxonomy=taxonomy, strictest_license=strictest_license),
        folder=settings.artifacts(dataset_of(samples).name), mode=mode,
        device=torch.device(device) if device else None, engine=engine, address=address,
        recalibrate=recalibrate, reuse_models=True,
        bars=bars or (lambda stage: progress if stage == "predict" else None),
    )  # fmt: skip


def embed(
    samples: SampleCollection,
    manifest: str | Path = "tiny",
    *,
    progress: Progress | None = None,
) -> EmbedResult:
    """Embed samples for similarity search, selection and the UMAP plot.

    Example:
        >>> cu.embed(dataset)
        >>> dataset.sort_by_similarity(dataset.first().id, brain_key="similarity", k=10)

    Args:
        samples: A FiftyOne dataset or view.
        manifest: Manifest whose first embedding member computes the vectors.
        progress: Callback after every batch.
    """
    from curation.stages.embed import embed as run
    from curation.storage.collection import dataset_of

    folder = connected().vectors(dataset_of(samples).name)
    return run(samples, ensemble(samples, manifest), folder=folder, progress=progress)


def score(
    samples: SampleCollection,
    members: Sequence[str] | None = None,
    *,
    manifest: str | Path = "tiny",
    taxonomy: str | None = None,
    progress: Progress | None = None,
) -> ScoreResult:
    """Rank the unlabeled pool by hardness, the disagreement of the members.

    Example:
        >>> cu.score(dataset, members=["my_yolo", "my_detr"])  # existing fields; no model runs
        >>> dataset.sort_by("hardness", reverse=True).first().filepath

    Args:
        samples: A FiftyOne dataset or view.
        members: Detections fields to compare; None for the predictions of the manifest.
        manifest: Manifest with the calibration and weights to use; ignored with `members`.
        taxonomy: Taxonomy for the labels of `members`; None to treat each label as a class.
        progress: Callback after every thousand samples.

    Raises:
        StoreError: A field is missing, or holds no boxes with confidences.
        StageError: No sample can be ranked.
    """
    from cascade.taxonomy import load as load_taxonomy
    from curation.pipeline.run_stage import run_stage
    from curation.stages.score import score as run

    connected()
    if members:
        classes = load_taxonomy(taxonomy) if taxonomy else None
        return run_stage(run, samples, members=members, taxonomy=classes, progress=progress)
    return run_stage(run, samples, ensemble=ensemble(samples, manifest), progress=progress)


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

    A dataset without vectors is embedded first. A round that has chosen returns its earlier
    result.

    Example:
        >>> cu.choose(dataset, budget=200)
        >>> dataset.match_tags("round-01").sort_by("rank")

    Args:
        samples: A FiftyOne dataset, or a view to choose from.
        budget: Samples to choose; None for a tenth of the pool, at least 20.
        round_number: The round, which names the tag of the batch, such as `round-01`.
        seed: Random seed for the random arm.
        use_hardness: False to choose by coverage only.
        manifest: Manifest whose embedder computes the vectors of a dataset without any.
        progress: Callback after reading the pool, choosing and tagging.

    Raises:
        StageError: The pool is empty, or has no hardness.
    """
    from curation.pipeline import run_round
    from curation.pipeline.run_stage import run_stage
    from curation.stages.choose import choose as run
    from curation.storage import schema
    from curation.storage.collection import dataset_of

    connected()
    dataset = dataset_of(samples)
    if not dataset.info.get(schema.EMBEDDER_INFO):
        embed(dataset, manifest)
    return run_stage(
        run, samples, round_number=round_number,
        budget=run_round.resolve_budget(samples, budget), seed=seed, use_hardness=use_hardness,
        progress=progress,
    )  # fmt: skip


def distill(
    dataset: Dataset,
    *,
    manifest: str | Path = "tiny",
    epochs: int = 40,
    seed: int = 0,
    out: Path | None = None,
) -> DistillResult:
    """Distill an ensemble into one fast student, and compare the two.

    Example:
        >>> cu.distill(dataset).retention.sentence

    Args:
        dataset: A FiftyOne dataset with labeled training and validation samples.
        manifest: Manifest of the ensemble, which is taken from its last round.
        epochs: Passes over the labeled samples.
        seed: Random seed for the student.
        out: Output folder; None for the default.

    Raises:
        StageError: Too few samples are labeled, or the ensemble has no detector.
    """
    from curation.stages.distill import distill as run

    settings = connected()
    folder = out or settings.dataset_folder(dataset.name) / "student"
    return run(dataset, ensemble(dataset, manifest), folder, epochs=epochs, seed=seed)
