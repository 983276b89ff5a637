"""Training from nothing for a given time, on views that lie ready on the device."""

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
from cascade.protocols import Trainable
from cascade.training.augmentation.augment import apply, draw
from cascade.training.examples import ViewBatch
from cascade.training.fit import Stepper

_CHANGES = 1.3  # strength of the augmentation: there is time to learn from hard examples


@dataclass(frozen=True)
class Pretraining:
    """What a pretraining took.

    Attributes:
        steps: Steps taken.
        images: Images seen, each as often as it was.
        seconds: Wall time.
        loss: Mean over the last tenth of the steps.
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
) -> Pretraining:
    """Train `model` in place, one cycle of the learning rate over the time there is.

    Args:
        model: Newly initialised, on the views' device.
        views: All images at the model's `view_size`, shape (N, 3, H, W), uint8.
        targets: Their ground truth.
        seconds: How long.
        batch_size: Images of a step.
        learning_rate: The highest.
        seed: Of order, changes and whatever the model draws.
        progress: Called after every step with its number, the share of the time, the loss.

    Raises:
        TrainingError: There are no views, or the loss is no longer finite.
    """
    if not len(views):
        raise TrainingError("There is no view to learn from.")
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
        tensors, wanted = _changed(model, views, targets, chosen, rng)
        share = min((time.perf_counter() - started) / seconds, 1.0)
        losses.append(stepper.step(tensors, wanted, share=share))
        if progress:
            progress(len(losses), share, losses[-1])
            model.module.train()  # in case it was evaluated meanwhile
    model.module.eval()
    return Pretraining(
        steps=len(losses),
        images=len(losses) * batch_size,
        seconds=time.perf_counter() - started,
        loss=float(np.mean(losses[-max(1, len(losses) // 10) :])),
    )


def measure(
    model: Trainable, views: Tensor, targets: Sequence[Detections], *, batch_size: int
) -> AveragePrecision:
    """Return how well the model finds the boxes of some views."""
    model.module.eval()
    found: list[Detections] = []
    for start in range(0, len(views), batch_size):
        batch = ViewBatch.of(views[start : start + batch_size])
        with torch.no_grad():
            raw = model.forward(model.prepare(batch))
        found += model.decode(raw, batch)
    return average_precision(found, targets, model.classes)


def _changed(
    model: Trainable,
    views: Tensor,
    targets: Sequence[Detections],
    chosen: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[object, list[Detections]]:
    rows = torch.from_numpy(chosen).to(views.device)
    changes = [draw(rng, strength=_CHANGES) for _ in chosen]
    changed, wanted = apply(views[rows], [targets[int(i)] for i in chosen], changes)
    return model.prepare(ViewBatch.of(changed)), wanted
