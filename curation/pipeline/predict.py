"""Predictions of a whole ensemble: detectors, fusion, deep tiers, fusion again, adjudication.

Every entry point (command line, Python, App, rounds and nightly jobs) calls this module, so all of
them offer the same options.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cascade.ensemble import Ensemble
from cascade.runtime.progress import Progress
from curation.presentation import refresh
from curation.stages.adjudicate import AdjudicateResult, adjudicate
from curation.stages.calibrate import calibrate
from curation.stages.examine import ExamineResult, Mode, examine
from curation.stages.fuse import FuseResult, fuse
from curation.stages.predict import Engine, PredictResult
from curation.stages.predict import predict as predict_detections
from curation.worker import model_cache

if TYPE_CHECKING:
    import torch
    from fiftyone.core.collections import SampleCollection

Bars = Callable[[str], Progress | None]  # makes the progress bar of a stage, by its name
StageResult = PredictResult | FuseResult | ExamineResult | AdjudicateResult
OnResult = Callable[[str, StageResult], object]


@dataclass(frozen=True)
class DeepTierResult:
    """Results of the deep tiers, and of what follows them.

    Attributes:
        ensemble: The ensemble that fused the votes; recalibrated if that was requested.
        examine: Depth, masks and language answers.
        fuse: Fusion of all tiers.
        adjudicate: Adjudication of the samples that stayed in doubt.
    """

    ensemble: Ensemble
    examine: ExamineResult
    fuse: FuseResult
    adjudicate: AdjudicateResult


@dataclass(frozen=True)
class PredictionResult:
    """Results of one prediction run.

    Attributes:
        ensemble: The ensemble that fused the votes; recalibrated if that was requested.
        predict: Predictions of the detectors.
        fuse: Fusion after the last tier that ran.
        examine: Depth, masks and language answers; None for a manifest without deep tiers.
        adjudicate: Adjudication of the samples still in doubt; None if there are no deep tiers.
    """

    ensemble: Ensemble
    predict: PredictResult
    fuse: FuseResult
    examine: ExamineResult | None = None
    adjudicate: AdjudicateResult | None = None


def predict(
    samples: SampleCollection,
    ensemble: Ensemble,
    *,
    folder: Path,
    mode: Mode = "full",
    device: torch.device | None = None,
    engine: Engine = "local",
    address: str | None = None,
    recalibrate: bool = False,
    reuse_models: bool = False,
    bars: Bars = lambda stage: None,
    on_result: OnResult = lambda stage, result: None,
) -> PredictionResult:
    """Run every member on the samples that it has not seen, and fuse the votes.

    Args:
        samples: A FiftyOne dataset or view.
        ensemble: Members, weights and routing.
        folder: Folder for masks and depth maps of the dataset.
        mode: Deep tiers on every sample (`full`), or only on the path of the cascade (`routed`).
        device: Device of all models; None for all GPUs, else the CPU.
        engine: `local` for the devices of this machine, `ray` for those of a cluster (detectors).
        address: Address of the Ray cluster; None to start one on this machine.
        recalibrate: Whether to refit the calibration on labeled validation samples before fusing.
        reuse_models: Whether a worker process keeps the models for its next run.
        bars: Maker of each stage's progress bar.
        on_result: Callback for the name and result of each stage, as soon as it ends.

    Raises:
        StageError: A required member fits on no GPU.
    """
    if reuse_models:
        ensemble = model_cache.get(ensemble)
    predicted = predict_detections(
        samples, ensemble, device=device, engine=engine, address=address, progress=bars("predict")
    )
    on_result("predict", predicted)
    if recalibrate:
        ensemble = calibrate(samples, ensemble)
    fused = fuse(samples, ensemble, progress=bars("fuse"))
    on_result("fuse", fused)
    refresh.after_stage(samples)  # the deep tiers may take hours
    if not any(ensemble.deep_tier_members().values()):
        return PredictionResult(ensemble, predicted, fused)
    deep = predict_deep_tiers(
        samples, ensemble, folder=folder, mode=mode, device=device, recalibrate=recalibrate,
        bars=bars, on_result=on_result,
    )  # fmt: skip
    return PredictionResult(deep.ensemble, predicted, deep.fuse, deep.examine, deep.adjudicate)


def predict_deep_tiers(
    samples: SampleCollection,
    ensemble: Ensemble,
    *,
    folder: Path,
    mode: Mode = "full",
    device: torch.device | None = None,
    recalibrate: bool = False,
    bars: Bars = lambda stage: None,
    on_result: OnResult = lambda stage, result: None,
) -> DeepTierResult:
    """Run the deep tiers on fused samples, fuse again, and adjudicate what stays in doubt.

    Arguments are those of `predict`.

    Raises:
        StageError: A sample has no consensus yet.
    """
    examined = examine(
        samples, ensemble, folder=folder, mode=mode, device=device, progress=bars("examine")
    )
    on_result("examine", examined)
    if recalibrate:
        ensemble = calibrate(samples, ensemble)
    fused = fuse(samples, ensemble, progress=bars("fuse"))
    on_result("fuse", fused)
    adjudicated = adjudicate(samples, ensemble, progress=bars("adjudicate"))
    on_result("adjudicate", adjudicated)
    refresh.after_stage(samples)
    return DeepTierResult(ensemble, examined, fused, adjudicated)
