"""Training of one member on images with ground truth, from its current weights.

The same call trains on one device or, in processes joined by `data_parallel.join_group`, on
several. All random draws depend only on the seed and the epoch, so an interrupted fit resumes after
its last complete epoch with the same result.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

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
from cascade.runtime.progress import Progress
from cascade.training import fit_state
from cascade.training.augmentation.augment import STREET, Effects
from cascade.training.data_parallel import ProcessGroup
from cascade.training.examples import PREPARED_BYTES, Example, ExampleCache
from cascade.training.fit_key import identity_of
from cascade.training.stepper import Stepper

VARIANTS = {"cpu": 4, "cuda": 16}  # per image, including the original; a CPU prepares them slowly


@dataclass(frozen=True)
class FitResult:
    """Result of a fit.

    Attributes:
        best_epoch: Epoch of the selected weights, from 1; 0 if no epoch improved on the start.
        epochs: Number of completed epochs.
        train_loss: Mean loss of each epoch.
        val_map50: Validation mAP at IoU 0.5 of each validation; empty if there is no validation.
        val_map50_before: The same before the first step; None if there is no validation.
        seconds: Wall time of this call.
        checkpoint: Folder of the selected weights.
        resumed_from: Epoch after which an earlier call was interrupted; 0 for none.
        unreadable: Error of each image that was left out.
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

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> FitResult:
        """Return the result in a JSON record, in which tuples are lists and paths are text."""
        values = {item.name: record[item.name] for item in fields(cls)}
        tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **tuples, "checkpoint": Path(values["checkpoint"])})


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
    state_file: Path | None = None,
    save_every: int = 1,
    progress: Progress | None = None,
) -> FitResult:
    """Train `model` in place and write its best checkpoint into `out`.

    AdamW, one cycle of the learning rate, bf16 on CUDA. Batch normalization keeps existing
    statistics, because those of a few small batches would be noisy. On a CPU, equal arguments
    give bit-identical weights, with or without an interruption.

    Args:
        model: Model to start from; it ends with the selected weights.
        train: Training examples. Unreadable images are left out and reported.
        val: Validation examples, which select the best epoch; without boxes, the last epoch is
            selected.
        out: Folder of the checkpoint, replaced atomically at the end.
        epochs: Maximal number of passes over `train`.
        seed: Random seed of the order, the changes and the model's own draws.
        device: Device for the training.
        batch_size: Images per step, over all processes. With a few hundred images, many small
            steps teach more than few large ones in the same time.
        learning_rate: Maximal learning rate.
        patience: Number of epochs without improvement before the fit stops, counted from the
            first epoch with any match.
        validate_every: Epochs between validations; the last epoch is always validated.
        weights: Sampling weight of each image; None shows each image once per epoch.
        effects: Probabilities of night, rain, blur and JPEG in a changed image.
        variants: Number of cached variants per image, including the original; 0 for new ones in
            every epoch; None for 4 on a CPU and 16 on CUDA.
        state_file: File for the state of the fit while it runs. If it holds the state of this
            fit, the fit resumes. None for a fit that cannot resume.
        save_every: Epochs between writes of the state.
        progress: Callback after every epoch.

    Raises:
        TrainingError: `train` is empty, the targets have other classes than the model,
            no parameter can be trained, or the loss is not finite.
    """
    _check(model, [*train, *val], train, weights, epochs=epochs)
    start, device, group = time.perf_counter(), torch.device(device), ProcessGroup.current()
    model.module.to(device)
    plan = _Plan(
        epochs=epochs, seed=seed, batch_size=batch_size, learning_rate=learning_rate,
        patience=patience, validate_every=validate_every, effects=effects,
        variants=VARIANTS.get(device.type, 4) if variants is None else variants,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else ()):
        run = _Run(model, train, val, plan, weights=weights, device=device, progress=progress)
        resumed_from = run.resume(state_file) if state_file else 0
        run.train(state_file if group.rank == 0 else None, save_every=save_every)
    model.module.eval()
    checkpoint.restore(model.module, run.best, origin="the best epoch")
    if group.rank == 0:
        model.save(out)
        if state_file:
            state_file.unlink(missing_ok=True)
    return FitResult(
        best_epoch=run.best_epoch,
        epochs=len(run.train_loss),
        train_loss=tuple(run.train_loss),
        val_map50=tuple(run.val_map50),
        val_map50_before=run.val_map50_before,
        seconds=time.perf_counter() - start,
        checkpoint=out,
        resumed_from=resumed_from,
        unreadable=run.unreadable,
    )


def epoch_order(
    n: int, *, seed: int, epoch: int, weights: Sequence[float] | None = None
) -> NDArray[np.int64]:
    """Return the indices of the n images of an epoch, in order, shape (n,).

    Without weights, each image occurs once. With weights, it occurs in proportion to its weight,
    rounded up or down at random with the correct mean over epochs (systematic resampling).
    """
    rng = np.random.default_rng((seed, epoch))
    if weights is None:
        return rng.permutation(n)
    edges = np.cumsum(np.asarray(weights, np.float64))
    ticks = (np.arange(n) + rng.random()) * (edges[-1] / n)
    return rng.permutation(np.searchsorted(edges, ticks, side="right").clip(max=n - 1))


def predict_cached(
    model: Trainable, cache: ExampleCache, rows: Sequence[int], *, batch_size: int
) -> tuple[list[Detections | None], list[Detections | None]]:
    """Return predictions and ground truth of the unchanged images of a cache, in order.

    Both are relative to the model's view, and None for an unreadable image.
    """
    model.module.eval()
    predictions: dict[int, Detections] = {}
    truths: dict[int, Detections] = {}
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        tensors, targets = cache.batch([(i, 0) for i in batch])
        batch = [i for i in batch if i not in cache.unreadable]
        if not batch:
            continue
        with torch.inference_mode():
            raw = model.forward(tensors)
        predictions |= zip(batch, model.decode(raw, cache.view_batch(batch)), strict=True)
        truths |= zip(batch, targets, strict=True)
    return [predictions.get(i) for i in rows], [truths.get(i) for i in rows]


@dataclass(frozen=True)
class _Plan:
    """The arguments of a fit that determine its result."""

    epochs: int
    seed: int
    batch_size: int
    learning_rate: float
    patience: int
    validate_every: int
    effects: Effects
    variants: int


class _Run:
    """One fit in progress: caches, history and the best weights so far."""

    def __init__(
        self,
        model: Trainable,
        train: Sequence[Example],
        val: Sequence[Example],
        plan: _Plan,
        *,
        weights: Sequence[float] | None,
        device: torch.device,
        progress: Progress | None,
    ) -> None:
        self._model, self._plan, self._device, self._progress = model, plan, device, progress
        self._weights, self._group = weights, ProcessGroup.current()
        self._group.synchronize(list(checkpoint.state(model.module).values()))
        self._train = ExampleCache(
            model, train, seed=plan.seed, device=device, effects=plan.effects,
            prepared_bytes=_cache_bytes(device) if plan.variants else 0,
        )  # fmt: skip
        self._val = ExampleCache(model, val, seed=plan.seed, device=device)
        self._has_val = any(len(example.target) for example in val)
        self._frozen_norms = [
            module
            for module in model.module.modules()
            if isinstance(module, _BatchNorm) and module.num_batches_tracked
        ]
        self._stepper = Stepper(model, learning_rate=plan.learning_rate, device=device)
        self._examples = (train, val)
        self._identity = ""
        self._highest: float | None = None
        self._resumed = False
        self.best_epoch = 0
        self.best = _copy_weights(model.module)
        self.train_loss: list[float] = []
        self.val_map50: list[float] = []
        self.val_map50_before: float | None = None

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Error of each image that was left out."""
        return (*self._train.unreadable.values(), *self._val.unreadable.values())

    def resume(self, path: Path) -> int:
        """Restore an interrupted fit, and return its last epoch; 0 if there is none."""
        parts = (self._plan, self._weights, *self._examples)
        self._identity = identity_of(parts, checkpoint.state(self._model.module))
        state = fit_state.load(path, identity=self._identity)
        if state is None:
            return 0
        weights = fit_state.select_prefix(state.tensors, "now.")
        checkpoint.restore(self._model.module, weights, origin=path)
        self.best = {
            name: tensor.to(self._device)
            for name, tensor in fit_state.select_prefix(state.tensors, "best.").items()
        }
        self._stepper.state = fit_state.select_prefix(state.tensors, "optimiser.")
        record = state.record
        self.best_epoch, self._highest = record["best_epoch"], record["highest"]
        self.train_loss, self.val_map50 = record["train_loss"], record["val_map50"]
        self.val_map50_before, self._resumed = record["val_map50_before"], True
        return len(self.train_loss)

    def train(self, state_file: Path | None, *, save_every: int) -> None:
        """Run the remaining epochs."""
        plan = self._plan
        if not self._resumed:
            self.val_map50_before = self._highest = self._validate()
        for epoch in range(len(self.train_loss) + 1, plan.epochs + 1):
            if self._has_val and self.best_epoch + plan.patience < epoch:
                return
            self.train_loss.append(self._run_epoch(epoch))
            is_last = epoch == plan.epochs
            if is_last or epoch % plan.validate_every == 0:
                self._select_best(epoch)
            if state_file and not is_last and epoch % save_every == 0:
                self._save_state(state_file)
            if self._progress and self._group.rank == 0:
                self._progress(epoch, plan.epochs)

    def _select_best(self, epoch: int) -> None:
        map50 = self._validate()
        if map50 is not None:
            self.val_map50.append(map50)
        # While mAP is 0, any later epoch counts as better, regardless of patience.
        if map50 is None or not self._highest or map50 > self._highest:
            self._highest, self.best_epoch = map50, epoch
            self.best = _copy_weights(self._model.module)

    def _run_epoch(self, epoch: int) -> float:
        plan, n = self._plan, len(self._train)
        order = epoch_order(n, seed=plan.seed, epoch=epoch, weights=self._weights)
        starts = range(0, n, plan.batch_size)
        steps, losses = plan.epochs * len(starts), []
        seed = np.random.SeedSequence((plan.seed, epoch, self._group.rank)).generate_state(1)[0]
        torch.manual_seed(int(seed))
        self._model.module.train()
        for norm in self._frozen_norms:
            norm.eval()
        for number, start in enumerate(starts, (epoch - 1) * len(starts)):
            indices = self._group.share(order[start : start + plan.batch_size].tolist())
            tensors, targets = self._train.batch([(i, self._variant(i, epoch)) for i in indices])
            if targets or self._group.size > 1:
                losses.append(self._stepper.step(tensors, targets, share=number / steps))
        if not losses:
            reason = next(iter(self._train.unreadable.values()))
            raise TrainingError(f"None of the {n} images can be read; the first error: {reason}")
        self._group.synchronize(list(self._model.module.buffers()))
        return float(np.mean(losses))

    def _variant(self, i: int, epoch: int) -> int:
        # Neighbors get different variants, so each epoch shows several of them.
        return (i + epoch) % self._plan.variants if self._plan.variants else epoch

    def _validate(self) -> float | None:
        if not self._has_val:
            return None
        n = len(self._val)
        predictions, truths = (
            [boxes for boxes in self._group.gather(results, n=n) if boxes is not None]
            for results in predict_cached(
                self._model,
                self._val,
                self._group.share(range(n)),
                batch_size=self._plan.batch_size,
            )
        )
        return average_precision(predictions, truths, self._model.classes).map50

    def _save_state(self, path: Path) -> None:
        record = {
            "identity": self._identity,
            "best_epoch": self.best_epoch,
            "highest": self._highest,
            "train_loss": self.train_loss,
            "val_map50": self.val_map50,
            "val_map50_before": self.val_map50_before,
        }
        groups = {
            "now.": checkpoint.state(self._model.module),
            "best.": self.best,
            "optimiser.": self._stepper.state,  # the spelling of existing state files
        }
        tensors = {
            f"{prefix}{name}": tensor
            for prefix, group in groups.items()
            for name, tensor in group.items()
        }
        fit_state.save(path, record, tensors)


def _check(
    model: Trainable,
    examples: Sequence[Example],
    train: Sequence[Example],
    weights: Sequence[float] | None,
    *,
    epochs: int,
) -> None:
    if not train:
        raise TrainingError("Training needs at least one image, got none. Label some first.")
    if epochs < 1:
        raise TrainingError(f"epochs must be at least 1, got {epochs}.")
    if weights is not None and (len(weights) != len(train) or min(weights) < 0 or not any(weights)):
        raise TrainingError(
            f"weights must be one number of at least 0 for each of {len(train)} images, "
            f"some above 0, got {len(weights)} of at least {min(weights, default=0):g}."
        )
    for example in examples:
        if example.target.classes != model.classes:
            raise TrainingError(
                f"The model has the classes {list(model.classes)}, the targets "
                f"{list(example.target.classes)}. Convert the model to the targets' classes "
                "first: `model.with_classes(...)`."
            )


def _cache_bytes(device: torch.device) -> int:
    """Return the memory limit for prepared images: a quarter of the free memory on CUDA."""
    if device.type != "cuda":
        return PREPARED_BYTES
    free: int = torch.cuda.mem_get_info(device)[0]
    return max(PREPARED_BYTES, free // 4)


def _copy_weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in checkpoint.state(module).items()}
