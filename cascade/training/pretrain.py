"""Training of a new model for a given time, on views in the device's memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cascade.errors import TrainingError
from cascade.metrics.average_precision import AveragePrecision, average_precision
from cascade.predictions import Detections
from cascade.protocols import Tensors, Trainable
from cascade.training.augmentation.augment import apply, draw
from cascade.training.examples import ViewBatch
from cascade.training.stepper import Stepper

_STRENGTH = 1.3  # of the augmentation: there is time to learn from difficult examples


@dataclass(frozen=True)
class PretrainResult:
    """Result of a pretraining.

    Attributes:
        steps: Number of steps.
        images: Number of images over all steps, with repetitions.
        seconds: Wall time.
        loss: Mean loss of the last tenth of the steps.
    """

    steps: int
    images: int
    seconds: float
    loss: float


def pretrain(
    model: Trainable,
    views: Tensor,
    targets: Sequence[Detections],
    *,
    seconds: float,
    batch_size: int,
    learning_rate: float,
    seed: int,
    progress: Callable[[int, float, float], None] | None = None,
) -> PretrainResult:
    """Train `model` in place, with one cycle of the learning rate over the available time.

    Args:
        model: New model, on the views' device.
        views: All images at the model's `view_size`, shape (N, 3, H, W), uint8.
        targets: Ground truth of the images.
        seconds: Duration.
        batch_size: Images per step.
        learning_rate: Maximal learning rate.
        seed: Random seed of the order, the changes and the model's own draws.
        progress: Callback after every step: number of the step, share of the time, loss.

    Raises:
        TrainingError: `views` is empty, or the loss is not finite.
    """
    if not len(views):
        raise TrainingError("Training needs at least one view, got none.")
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    stepper = Stepper(model, learning_rate=learning_rate, device=views.device)
    started, losses = time.perf_counter(), list[float]()
    order = np.zeros(0, np.int64)
    model.module.train()
    while not losses or time.perf_counter() - started < seconds:
        if len(order) < batch_size:
            order = np.concatenate([order, rng.permutation(len(views))])
        chosen, order = order[:batch_size], order[batch_size:]
        tensors, changed = _augment(model, views, targets, chosen, rng)
        share = min((time.perf_counter() - started) / seconds, 1.0)
        losses.append(stepper.step(tensors, changed, share=share))
        if progress:
            progress(len(losses), share, losses[-1])
            model.module.train()  # the callback may have evaluated it
    model.module.eval()
    return PretrainResult(
        steps=len(losses),
        images=len(losses) * batch_size,
        seconds=time.perf_counter() - started,
        loss=float(np.mean(losses[-max(1, len(losses) // 10) :])),
    )


def evaluate(
    model: Trainable, views: Tensor, targets: Sequence[Detections], *, batch_size: int
) -> AveragePrecision:
    """Return the average precision of the model on some views."""
    model.module.eval()
    predictions: list[Detections] = []
    for start in range(0, len(views), batch_size):
        batch = ViewBatch.of(views[start : start + batch_size])
        with torch.no_grad():
            raw = model.forward(model.prepare(batch))
        predictions += model.decode(raw, batch)
    return average_precision(predictions, targets, model.classes)


def _augment(
    model: Trainable,
    views: Tensor,
    targets: Sequence[Detections],
    chosen: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Tensors, list[Detections]]:
    rows = torch.from_numpy(chosen).to(views.device)
    changes = [draw(rng, strength=_STRENGTH) for _ in chosen]
    changed_views, changed_targets = apply(views[rows], [targets[int(i)] for i in chosen], changes)
    return model.prepare(ViewBatch.of(changed_views)), changed_targets
