"""Fitting one member on images with ground truth, from where its weights stand."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cascade.average_precision import average_precision
from cascade.errors import TrainingError
from cascade.model import Trainable
from cascade.models import checkpoint
from cascade.predictions import Detections
from cascade.training.examples import Example as Example
from cascade.training.examples import Shelf

WARM_UP = 0.1  # share of the steps in which the learning rate rises
WEIGHT_DECAY = 1e-4
GRADIENT_NORM = 1.0  # at most
VARIANTS = 4  # of each image: itself and three changed ones


@dataclass(frozen=True)
class FitResult:
    """What came of a fit.

    Attributes:
        best_epoch: The epoch whose weights were kept, from 1; 0 where none was better than
            the start.
        epochs: Epochs that ran.
        train_loss: Mean loss of each epoch.
        val_map50: mAP at IoU 0.5 on validation after each epoch; empty without validation.
        val_map50_before: The same before the first step; None without validation.
        seconds: Wall time.
        checkpoint: The folder with the kept weights.
    """

    best_epoch: int
    epochs: int
    train_loss: tuple[float, ...]
    val_map50: tuple[float, ...]
    val_map50_before: float | None
    seconds: float
    checkpoint: Path


def fit(
    model: Trainable,
    train: Sequence[Example],
    val: Sequence[Example],
    *,
    out: Path,
    epochs: int = 8,
    seed: int = 0,
    device: torch.device | str = "cpu",
    batch_size: int = 4,
    learning_rate: float = 1e-3,
    patience: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> FitResult:
    """Train `model` in place and write its best checkpoint into `out`.

    AdamW, one cycle of the learning rate, bf16 on CUDA. Batch normalisation keeps the
    statistics that it came with, if any: those of a few small batches would be noise. On a CPU
    the same arguments give the same weights bit for bit.

    Args:
        model: Where to start; it ends with the kept weights.
        train: What to learn from.
        val: What decides which epoch is kept; without boxes in it, the last one is.
        out: The checkpoint's folder, replaced whole at the end.
        epochs: Passes over `train`, at most.
        seed: Of order, changes and whatever the model draws.
        device: Where to work.
        batch_size: Images of a step. With a few hundred images many small steps teach more
            than few large ones, in the same time.
        learning_rate: The highest.
        patience: Epochs without a better validation, after which it stops; they count from
            the first epoch after which anything was found.
        progress: Called after every epoch with its number and how many there may be.

    Raises:
        TrainingError: There is nothing to learn from, the targets name other classes than the
            model, or the loss is no longer finite.
    """
    _check(model, [*train, *val], n_train=len(train), epochs=epochs)
    started, place = time.perf_counter(), torch.device(device)
    model.module.to(place)
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else ()):
        torch.manual_seed(seed)
        run = _Run(model, train, val, seed=seed, device=place, progress=progress)
        run.train(epochs, batch_size=batch_size, learning_rate=learning_rate, patience=patience)
    model.module.eval()
    checkpoint.restore(model.module, run.best, origin="the best epoch")
    model.save(out)
    return FitResult(
        best_epoch=run.best_epoch,
        epochs=len(run.train_loss),
        train_loss=tuple(run.train_loss),
        val_map50=tuple(run.val_map50),
        val_map50_before=run.val_map50_before,
        seconds=time.perf_counter() - started,
        checkpoint=out,
    )


def one_cycle(share: float) -> float:
    """Return the factor of the learning rate after `share` of the steps, in [0.01, 1]."""
    if share < WARM_UP:
        return 0.1 + 0.9 * share / WARM_UP
    down = (share - WARM_UP) / (1 - WARM_UP)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(down, 1.0))) / 2


class Stepper:
    """Takes training steps: loss, gradient, clipping, update."""

    def __init__(self, model: Trainable, *, learning_rate: float, device: torch.device) -> None:
        self._model = model
        self._device = device
        self._highest = learning_rate
        self._parameters = [one for one in model.module.parameters() if one.requires_grad]
        self._optimiser = torch.optim.AdamW(
            self._parameters, lr=learning_rate, weight_decay=WEIGHT_DECAY
        )

    def step(self, tensors: object, targets: Sequence[Detections], *, share: float) -> float:
        """Take one step after `share` of all steps, and return its loss.

        Raises:
            TrainingError: The loss is not finite; the weights are as they were.
        """
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            loss = self._model.loss(tensors, targets)  # type: ignore[arg-type]
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"The loss became {value}. Lower the learning rate (now {self._highest:g}), "
                "or look for broken boxes in the ground truth."
            )
        for group in self._optimiser.param_groups:
            group["lr"] = self._highest * one_cycle(share)
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._parameters, GRADIENT_NORM)
        self._optimiser.step()
        return value


def predict_shelf(model: Trainable, shelf: Shelf, *, batch_size: int) -> list[Detections]:
    """Return what the model says about the unchanged images of a shelf, in order."""
    model.module.eval()
    found: list[Detections] = []
    for start in range(0, len(shelf), batch_size):
        rows = range(start, min(start + batch_size, len(shelf)))
        tensors, _ = shelf.batch([(i, 0) for i in rows])
        with torch.inference_mode():
            raw = model.forward(tensors)
        found += model.decode(raw, shelf.view_batch(rows))
    return found


class _Run:
    """One fit under way: the shelves, the record of the epochs and the best weights so far."""

    def __init__(
        self,
        model: Trainable,
        train: Sequence[Example],
        val: Sequence[Example],
        *,
        seed: int,
        device: torch.device,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._model, self._seed, self._device, self._progress = model, seed, device, progress
        self._train = Shelf(model, train, seed=seed, device=device)
        self._val = Shelf(model, val, seed=seed, device=device)
        self._settled = [one for one in _normalisations(model.module) if one.num_batches_tracked]
        self.best_epoch = 0
        self.best = _copy(model.module)
        self.train_loss: list[float] = []
        self.val_map50: list[float] = []
        self.val_map50_before: float | None = None

    def train(self, epochs: int, *, batch_size: int, learning_rate: float, patience: int) -> None:
        stepper = Stepper(self._model, learning_rate=learning_rate, device=self._device)
        self.val_map50_before = self._validate(batch_size)
        highest = self.val_map50_before
        for epoch in range(1, epochs + 1):
            self.train_loss.append(self._epoch(epoch, epochs, stepper, batch_size))
            reached = self._validate(batch_size)
            if reached is not None:
                self.val_map50.append(reached)
            # At 0 nothing was found yet, and later is better, whatever the patience.
            if reached is None or highest is None or reached > highest or not highest:
                highest, self.best_epoch, self.best = reached, epoch, _copy(self._model.module)
            if self._progress:
                self._progress(epoch, epochs)
            if epoch - self.best_epoch >= patience:
                return

    def _epoch(self, epoch: int, epochs: int, stepper: Stepper, batch_size: int) -> float:
        n = len(self._train)
        order = np.random.default_rng((self._seed, epoch)).permutation(n)
        starts = range(0, n, batch_size)
        steps, losses = epochs * len(starts), []
        self._model.module.train()
        for normalisation in self._settled:
            normalisation.eval()
        for number, start in enumerate(starts, 1 + (epoch - 1) * len(starts)):
            # Neighbours are in different variants, so that an epoch shows some of each.
            wanted = [
                (int(i), int(i + epoch) % VARIANTS) for i in order[start : start + batch_size]
            ]
            tensors, targets = self._train.batch(wanted)
            losses.append(stepper.step(tensors, targets, share=(number - 1) / steps))
        return float(np.mean(losses))

    def _validate(self, batch_size: int) -> float | None:
        if not any(len(one) for one in self._val.targets):
            return None
        found = predict_shelf(self._model, self._val, batch_size=batch_size)
        return average_precision(found, self._val.targets, self._model.classes).map50


def _check(model: Trainable, examples: Sequence[Example], *, n_train: int, epochs: int) -> None:
    if n_train == 0:
        raise TrainingError("There is no image to learn from. Label some first.")
    if epochs < 1:
        raise TrainingError(f"epochs must be at least 1, got {epochs}.")
    for one in examples:
        if one.target.classes != model.classes:
            raise TrainingError(
                f"The model names {list(model.classes)}, the targets {list(one.target.classes)}. "
                "Give the model the targets' classes first: `model.with_classes(...)`."
            )


def _normalisations(module: nn.Module) -> list[_BatchNorm]:
    return [one for one in module.modules() if isinstance(one, _BatchNorm)]


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in checkpoint.state(module).items()}
