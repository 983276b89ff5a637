"""Fitting one member on images with ground truth, from where its weights stand.

The same call trains on one device or, in processes that `parallel.joined` brought together, on
several. What is random depends on the seed and the epoch alone, so a fit that was cut off goes on
from its last whole epoch as if nothing had happened.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cascade.checkpoints import checkpoint
from cascade.errors import TrainingError
from cascade.metrics.average_precision import average_precision
from cascade.predictions import Detections
from cascade.protocols import Trainable
from cascade.training import fit_state
from cascade.training.augmentation.augment import STREET, Effects
from cascade.training.data_parallel import Group
from cascade.training.examples import PREPARED_BYTES, Shelf
from cascade.training.examples import Example as Example
from cascade.training.fit_key import identity_of

WARM_UP = 0.1  # share of the steps in which the learning rate rises
WEIGHT_DECAY = 1e-4
GRADIENT_NORM = 1.0  # at most
VARIANTS = {"cpu": 4, "cuda": 16}  # of each image, itself among them; on a CPU each costs more


@runtime_checkable
class Paced(Protocol):
    """A model some of whose parameters should learn more slowly than the others."""

    def pace(self, name: str) -> float:
        """Return the share of the learning rate for a parameter of `module`, above 0."""
        ...


@dataclass(frozen=True)
class FitResult:
    """What came of a fit.

    Attributes:
        best_epoch: The epoch whose weights were kept, from 1; 0 where none was better than
            the start.
        epochs: Epochs that ran.
        train_loss: Mean loss of each epoch.
        val_map50: mAP at IoU 0.5 on validation each time; empty without validation.
        val_map50_before: The same before the first step; None without validation.
        seconds: Wall time, of this call alone.
        checkpoint: The folder with the kept weights.
        resumed_from: The epoch after which an earlier call was cut off; 0 for none.
        unreadable: Why images were left out.
    """

    best_epoch: int
    epochs: int
    train_loss: tuple[float, ...]
    val_map50: tuple[float, ...]
    val_map50_before: float | None
    seconds: float
    checkpoint: Path
    resumed_from: int = 0
    unreadable: tuple[str, ...] = ()


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
    validate_every: int = 1,
    weights: Sequence[float] | None = None,
    effects: Effects = STREET,
    variants: int | None = None,
    goes_on: Path | None = None,
    keep_every: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> FitResult:
    """Train `model` in place and write its best checkpoint into `out`.

    AdamW, one cycle of the learning rate, bf16 on CUDA. Batch normalisation keeps the
    statistics that it came with, if any: those of a few small batches would be noise. On a CPU
    the same arguments give the same weights bit for bit, whether cut off in between or not.

    Args:
        model: Where to start; it ends with the kept weights.
        train: What to learn from. An image that cannot be read is left out, and on record.
        val: What decides which epoch is kept; without boxes in it, the last one is.
        out: The checkpoint's folder, replaced whole at the end.
        epochs: Passes over `train`, at most.
        seed: Of order, changes and whatever the model draws.
        device: Where to work.
        batch_size: Images of a step, over all processes. With a few hundred images many small
            steps teach more than few large ones, in the same time.
        learning_rate: The highest.
        patience: Epochs without a better validation, after which it stops; they count from
            the first epoch after which anything was found.
        validate_every: Epochs between validations; the last is always followed by one.
        weights: How often each image is shown, relative to the others, in an epoch of as many
            images; None for once each.
        effects: How probable night, rain, blur and JPEG are in a changed image.
        variants: How many forms of each image there are, itself among them, made once and kept;
            0 for new ones in every epoch; None for 4 on a CPU, 16 on CUDA.
        goes_on: The file that says where the fit stands, kept while it runs; if it is there, of
            this very fit, the fit goes on from there. None for a fit that is not resumable.
        keep_every: Epochs between its writings.
        progress: Called after every epoch with its number and how many there may be.

    Raises:
        TrainingError: There is nothing to learn from, the targets name other classes than the
            model, nothing in the model can be trained, or the loss is no longer finite.
    """
    _check(model, [*train, *val], train, weights, epochs=epochs)
    started, place, group = time.perf_counter(), torch.device(device), Group.current()
    model.module.to(place)
    plan = _Plan(
        epochs=epochs, seed=seed, batch_size=batch_size, learning_rate=learning_rate,
        patience=patience, validate_every=validate_every, effects=effects,
        variants=VARIANTS.get(place.type, 4) if variants is None else variants,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else ()):
        run = _Run(model, train, val, plan, weights=weights, device=place, progress=progress)
        resumed_from = run.go_on_from(goes_on) if goes_on else 0
        run.train(goes_on if group.rank == 0 else None, keep_every=keep_every)
    model.module.eval()
    checkpoint.restore(model.module, run.best, origin="the best epoch")
    if group.rank == 0:
        model.save(out)
        if goes_on:
            goes_on.unlink(missing_ok=True)
    return FitResult(
        best_epoch=run.best_epoch,
        epochs=len(run.train_loss),
        train_loss=tuple(run.train_loss),
        val_map50=tuple(run.val_map50),
        val_map50_before=run.val_map50_before,
        seconds=time.perf_counter() - started,
        checkpoint=out,
        resumed_from=resumed_from,
        unreadable=run.unreadable,
    )


def one_cycle(share: float) -> float:
    """Return the factor of the learning rate after `share` of the steps, in [0.01, 1]."""
    if share < WARM_UP:
        return 0.1 + 0.9 * share / WARM_UP
    down = (share - WARM_UP) / (1 - WARM_UP)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(down, 1.0))) / 2


def order_of(
    n: int, *, seed: int, epoch: int, weights: Sequence[float] | None = None
) -> NDArray[np.int64]:
    """Return which of n images an epoch shows, in order, shape (n,).

    Without weights each once. With weights each as often as its share says, rounded up or down
    at random so that the mean over epochs is right (systematic resampling).
    """
    rng = np.random.default_rng((seed, epoch))
    if weights is None:
        return rng.permutation(n)
    edges = np.cumsum(np.asarray(weights, np.float64))
    ticks = (np.arange(n) + rng.random()) * (edges[-1] / n)
    return rng.permutation(np.searchsorted(edges, ticks, side="right").clip(max=n - 1))


class Stepper:
    """Takes training steps: loss, gradient, clipping, update; with others of its group, if any."""

    def __init__(self, model: Trainable, *, learning_rate: float, device: torch.device) -> None:
        self._model = model
        self._device = device
        self._highest = learning_rate
        self._group = Group.current()
        named = [(n, one) for n, one in model.module.named_parameters() if one.requires_grad]
        if not named:
            raise TrainingError(
                "Nothing in the model can be trained: it was loaded for prediction. "
                "Take `model.with_classes(...)`, which can."
            )
        self._parameters = [one for _, one in named]
        paces = [model.pace(n) if isinstance(model, Paced) else 1.0 for n, _ in named]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": [one for (_, one), p in zip(named, paces, strict=True) if p == pace]}
                for pace in dict.fromkeys(paces)
            ],
            lr=learning_rate,
            weight_decay=WEIGHT_DECAY,
        )
        self._paces = tuple(dict.fromkeys(paces))

    @property
    def state(self) -> dict[str, Tensor]:
        """What the optimiser remembers, by the parameter's number and the kind of memory."""
        remembered = self._optimiser.state_dict()["state"]
        return {f"{i}.{kind}": one for i, row in remembered.items() for kind, one in row.items()}

    @state.setter
    def state(self, tensors: dict[str, Tensor]) -> None:
        rows: dict[int, dict[str, Tensor]] = {}
        for name, one in tensors.items():
            number, _, kind = name.partition(".")
            rows.setdefault(int(number), {})[kind] = one
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": rows, "param_groups": groups})

    def step(self, tensors: object, targets: Sequence[Detections], *, share: float) -> float:
        """Take one step after `share` of all steps, and return its loss.

        In a group every process must call it, those without images, too.

        Raises:
            TrainingError: The loss is not finite; the weights are as they were.
        """
        self._optimiser.zero_grad(set_to_none=True)
        value = self._gradients(tensors, targets) if targets else 0.0
        value = self._group.average_gradients(
            self._parameters, loss=value, images=len(targets), device=self._device
        )
        if not math.isfinite(value):
            raise TrainingError(
                f"The loss became {value}. Lower the learning rate (now {self._highest:g}), "
                "or look for broken boxes in the ground truth."
            )
        for group, pace in zip(self._optimiser.param_groups, self._paces, strict=True):
            group["lr"] = self._highest * pace * one_cycle(share)
        nn.utils.clip_grad_norm_(self._parameters, GRADIENT_NORM)
        self._optimiser.step()
        return value

    def _gradients(self, tensors: object, targets: Sequence[Detections]) -> float:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            loss = self._model.loss(tensors, targets)  # type: ignore[arg-type]
        value = float(loss.detach())
        if math.isfinite(value):
            torch.autograd.backward(loss)
        return value


def predict_shelf(
    model: Trainable, shelf: Shelf, rows: Sequence[int], *, batch_size: int
) -> tuple[list[Detections | None], list[Detections | None]]:
    """Return what the model says about unchanged images of a shelf, and the truth; both in order.

    Both are relative to the model's view, and None for an image that cannot be read.
    """
    model.module.eval()
    found: dict[int, Detections] = {}
    truths: dict[int, Detections] = {}
    for start in range(0, len(rows), batch_size):
        some = rows[start : start + batch_size]
        tensors, targets = shelf.batch([(i, 0) for i in some])
        some = [i for i in some if i not in shelf.unreadable]
        if not some:
            continue
        with torch.inference_mode():
            raw = model.forward(tensors)
        found |= zip(some, model.decode(raw, shelf.view_batch(some)), strict=True)
        truths |= zip(some, targets, strict=True)
    return [found.get(i) for i in rows], [truths.get(i) for i in rows]


@dataclass(frozen=True)
class _Plan:
    """The arguments of a fit that decide on what comes out of it."""

    epochs: int
    seed: int
    batch_size: int
    learning_rate: float
    patience: int
    validate_every: int
    effects: Effects
    variants: int


class _Run:
    """One fit under way: the shelves, the record of the epochs and the best weights so far."""

    def __init__(
        self,
        model: Trainable,
        train: Sequence[Example],
        val: Sequence[Example],
        plan: _Plan,
        *,
        weights: Sequence[float] | None,
        device: torch.device,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._model, self._plan, self._device, self._progress = model, plan, device, progress
        self._weights, self._group = weights, Group.current()
        self._group.even_out(list(checkpoint.state(model.module).values()))  # rank 0's, or equal
        kept = _memory(device) if plan.variants else 0
        self._train = Shelf(
            model, train, seed=plan.seed, device=device, effects=plan.effects, prepared_bytes=kept
        )
        self._val = Shelf(model, val, seed=plan.seed, device=device)
        self._has_val = any(len(one.target) for one in val)
        self._settled = [one for one in _normalisations(model.module) if one.num_batches_tracked]
        self._stepper = Stepper(model, learning_rate=plan.learning_rate, device=device)
        self._examples = (train, val)
        self._identity = ""
        self._highest: float | None = None
        self._started = False
        self.best_epoch = 0
        self.best = _copy(model.module)
        self.train_loss: list[float] = []
        self.val_map50: list[float] = []
        self.val_map50_before: float | None = None

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Why images were left out."""
        return (*self._train.unreadable.values(), *self._val.unreadable.values())

    def go_on_from(self, path: Path) -> int:
        """Take up a fit that was cut off, and return after which epoch; 0 where there is none."""
        parts = (self._plan, self._weights, *self._examples)
        self._identity = identity_of(parts, checkpoint.state(self._model.module))
        found = fit_state.load(path, identity=self._identity)
        if found is None:
            return 0
        weights = fit_state.part(found.tensors, "now.")
        checkpoint.restore(self._model.module, weights, origin=path)
        self.best = {
            name: one.to(self._device)
            for name, one in fit_state.part(found.tensors, "best.").items()
        }
        self._stepper.state = fit_state.part(found.tensors, "optimiser.")
        record = found.record
        self.best_epoch, self._highest = record["best_epoch"], record["highest"]
        self.train_loss, self.val_map50 = record["train_loss"], record["val_map50"]
        self.val_map50_before, self._started = record["val_map50_before"], True
        return len(self.train_loss)

    def train(self, keep: Path | None, *, keep_every: int) -> None:
        plan = self._plan
        if not self._started:
            self.val_map50_before = self._highest = self._validate()
        for epoch in range(len(self.train_loss) + 1, plan.epochs + 1):
            if self._has_val and self.best_epoch + plan.patience < epoch:
                return
            self.train_loss.append(self._epoch(epoch))
            last = epoch == plan.epochs
            if last or epoch % plan.validate_every == 0:
                self._judge(epoch)
            if keep and not last and epoch % keep_every == 0:
                fit_state.save(keep, self._record(), self._tensors())
            if self._progress and self._group.rank == 0:
                self._progress(epoch, plan.epochs)

    def _judge(self, epoch: int) -> None:
        reached = self._validate()
        if reached is not None:
            self.val_map50.append(reached)
        # At 0 nothing was found yet, and later is better, whatever the patience.
        if reached is None or not self._highest or reached > self._highest:
            self._highest, self.best_epoch = reached, epoch
            self.best = _copy(self._model.module)

    def _epoch(self, epoch: int) -> float:
        plan, n = self._plan, len(self._train)
        order = order_of(n, seed=plan.seed, epoch=epoch, weights=self._weights)
        starts = range(0, n, plan.batch_size)
        steps, losses = plan.epochs * len(starts), []
        torch.manual_seed(_number(plan.seed, epoch, self._group.rank))
        self._model.module.train()
        for normalisation in self._settled:
            normalisation.eval()
        for number, start in enumerate(starts, (epoch - 1) * len(starts)):
            wanted = [
                (int(i), self._variant(int(i), epoch))
                for i in self._group.share(order[start : start + plan.batch_size].tolist())
            ]
            tensors, targets = self._train.batch(wanted)
            if targets or self._group.size > 1:
                losses.append(self._stepper.step(tensors, targets, share=number / steps))
        if not losses:
            reason = next(iter(self._train.unreadable.values()))
            raise TrainingError(f"None of the {n} images can be read; the first: {reason}")
        self._group.even_out(list(self._model.module.buffers()))
        return float(np.mean(losses))

    def _variant(self, i: int, epoch: int) -> int:
        # Neighbours are in different variants, so that an epoch shows some of each.
        return (i + epoch) % self._plan.variants if self._plan.variants else epoch

    def _validate(self) -> float | None:
        if not self._has_val:
            return None
        n, classes = len(self._val), self._model.classes
        rows = self._group.share(range(n))
        found, truths = (
            self._group.gathered(one, n=n, classes=classes, device=self._device)
            for one in predict_shelf(self._model, self._val, rows, batch_size=self._plan.batch_size)
        )
        known = [
            (a, b) for a, b in zip(found, truths, strict=True) if a is not None and b is not None
        ]
        return average_precision([a for a, _ in known], [b for _, b in known], classes).map50

    def _record(self) -> dict[str, Any]:
        return {
            "identity": self._identity,
            "best_epoch": self.best_epoch,
            "highest": self._highest,
            "train_loss": self.train_loss,
            "val_map50": self.val_map50,
            "val_map50_before": self.val_map50_before,
        }

    def _tensors(self) -> dict[str, Tensor]:
        parts = {
            "now.": checkpoint.state(self._model.module),
            "best.": self.best,
            "optimiser.": self._stepper.state,
        }
        return {
            f"{prefix}{name}": one for prefix, all_ in parts.items() for name, one in all_.items()
        }


def _check(
    model: Trainable,
    examples: Sequence[Example],
    train: Sequence[Example],
    weights: Sequence[float] | None,
    *,
    epochs: int,
) -> None:
    if not train:
        raise TrainingError("There is no image to learn from. Label some first.")
    if epochs < 1:
        raise TrainingError(f"epochs must be at least 1, got {epochs}.")
    if weights is not None and (len(weights) != len(train) or min(weights) < 0 or not any(weights)):
        raise TrainingError(
            f"weights must be one number of at least 0 for each of {len(train)} images, "
            f"some above 0, got {len(weights)} of at least {min(weights, default=0):g}."
        )
    for one in examples:
        if one.target.classes != model.classes:
            raise TrainingError(
                f"The model names {list(model.classes)}, the targets {list(one.target.classes)}. "
                "Give the model the targets' classes first: `model.with_classes(...)`."
            )


def _memory(device: torch.device) -> int:
    """Return how many bytes of prepared images may be kept: on CUDA a quarter of what is free."""
    if device.type != "cuda":
        return PREPARED_BYTES
    free: int = torch.cuda.mem_get_info(device)[0]
    return max(PREPARED_BYTES, free // 4)


def _number(*parts: int) -> int:
    """Return a seed that depends on all parts."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _normalisations(module: nn.Module) -> list[_BatchNorm]:
    return [one for one in module.modules() if isinstance(one, _BatchNorm)]


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in checkpoint.state(module).items()}
