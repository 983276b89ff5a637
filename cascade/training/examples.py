"""Training examples, and a cache of what a model prepares from them.

The output of `prepare` does not depend on trained weights (it is the maps of a frozen trunk, or
plain pixels), so a few variants of each image are prepared once instead of in every epoch. Memory
is limited: variants beyond the limit are prepared again. Unreadable images are left out and
recorded.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from cascade.errors import ImageError, TrainingError
from cascade.imaging import batches
from cascade.imaging.batches import Batch, Image
from cascade.imaging.letterbox import Inset
from cascade.imaging.resizing import Mode
from cascade.predictions import Detections
from cascade.protocols import Tensors, Trainable
from cascade.training.augmentation.augment import (
    NO_EFFECTS,
    UNCHANGED,
    Corners,
    Effects,
    apply,
    crop,
    draw,
    mask_out,
)

logger = logging.getLogger(__name__)

VIEW_BYTES = 1 << 30
PREPARED_BYTES = 2 << 30


@dataclass(frozen=True, eq=False)
class Example:
    """An image and its target.

    Attributes:
        image: A file, or pixels: RGB, uint8, shape (H, W, 3), upright.
        target: Ground truth of the full image, with the model's classes.
        window: Relative part `x1, y1, x2, y2` used for training; None for the full image.
        hidden: Relative parts with unknown content. They are masked, except where they overlap
            boxes of the target.
    """

    image: Path | str | Image
    target: Detections
    window: Corners | None = None
    hidden: tuple[Corners, ...] = ()


@runtime_checkable
class Framing(Protocol):
    """A model whose view is not the image stretched to `view_size` with antialiasing."""

    def training_view(self, batch: Batch) -> tuple[Tensor, list[Inset]]:
        """Return the input views of `prepare`, (B, 3, H, W), uint8, and the images' positions."""
        ...


@dataclass(frozen=True, eq=False)
class ViewBatch(Batch):
    """A batch of finished views, without the images.

    Attributes:
        views: Shape (B, 3, H, W), uint8.
        framed: Whether the model made the views itself, with its own resizing.
    """

    views: Tensor = field(kw_only=True)
    framed: bool = False

    @classmethod
    def of(cls, views: Tensor, *, framed: bool = False) -> ViewBatch:
        """Return the batch of these views, on their device."""
        ids = tuple(str(i) for i in range(len(views)))
        return cls(ids=ids, images=(), device=views.device, views=views, framed=framed)

    def __len__(self) -> int:
        return len(self.views)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each view, in pixels."""
        return [(self.views.shape[2], self.views.shape[3])] * len(self)

    def view(self, height: int, width: int, mode: Mode = "bilinear") -> Tensor:
        """Return the views, which must have this size and interpolation mode.

        Raises:
            TrainingError: The views have another size or mode.
        """
        if (height, width) != self.views.shape[-2:] or (mode != "bilinear" and not self.framed):
            raise TrainingError(
                f"The views have {tuple(self.views.shape[-2:])} pixels, but the model requests "
                f"{(height, width)} ({mode}). Its `view_size` must match."
            )
        return self.views

    def pixels(self) -> list[Tensor]:
        """Return each view as an image, (1, 3, H, W)."""
        return [self.views[i : i + 1] for i in range(len(self))]


class ExampleCache:
    """Examples prepared for one model, in several variants; variant 0 is the unchanged image.

    Args:
        model: Model whose `prepare` is applied.
        examples: Images and targets.
        seed: Random seed of the variants: variant v of example i is equal in every run.
        device: Device of the model and of the cached views.
        effects: Probabilities of night, rain, blur and JPEG in a variant.
        view_bytes: Memory limit for views.
        prepared_bytes: Memory limit for outputs of `prepare`.
    """

    def __init__(
        self,
        model: Trainable,
        examples: Sequence[Example],
        *,
        seed: int,
        device: torch.device,
        effects: Effects = NO_EFFECTS,
        view_bytes: int = VIEW_BYTES,
        prepared_bytes: int = PREPARED_BYTES,
    ) -> None:
        self._model = model
        self._framing = model if isinstance(model, Framing) else None
        self._examples = examples
        self._seed, self._device, self._effects = seed, device, effects
        self._views: dict[int, Tensor] = {}
        self._targets: dict[int, Detections] = {}
        self._prepared: dict[tuple[int, int], tuple[dict[str, Any], Detections]] = {}
        self._view_bytes, self._prepared_bytes = view_bytes, prepared_bytes
        self.unreadable: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._examples)

    def batch(self, keys: Sequence[tuple[int, int]]) -> tuple[Tensors, list[Detections]]:
        """Return the prepared tensors and the targets of `(example, variant)` keys.

        Keys with an unreadable image are left out; if none remains, the tensors are empty.
        Targets are relative to the view.
        """
        missing = [key for key in keys if key not in self._prepared]
        fresh = self._prepare([key for key in missing if key[0] not in self.unreadable])
        results = [self._prepared.get(key) or fresh.get(key) for key in keys]
        present = [result for result in results if result is not None]
        if not present:
            return {}, []
        return _concatenate([tensors for tensors, _ in present]), [target for _, target in present]

    def view_batch(self, indices: Sequence[int]) -> ViewBatch:
        """Return the unchanged views of the readable ones of some examples."""
        views = self._read(indices)
        return self._batch_of(torch.stack([views[i] for i in indices if i in views]))

    def _prepare(
        self, keys: Sequence[tuple[int, int]]
    ) -> dict[tuple[int, int], tuple[dict[str, Any], Detections]]:
        originals = self._read([i for i, _ in keys])
        keys = [key for key in keys if key[0] in originals]
        if not keys:
            return {}
        changes = [
            draw(np.random.default_rng((self._seed, i, variant)), effects=self._effects)
            if variant
            else UNCHANGED
            for i, variant in keys
        ]
        views, targets = apply(
            torch.stack([originals[i] for i, _ in keys]),
            [self._targets[i] for i, _ in keys],
            changes,
        )
        with torch.no_grad():
            tensors = self._model.prepare(self._batch_of(views))
        fresh = {key: (_select_row(tensors, i), targets[i]) for i, key in enumerate(keys)}
        for key, (row, target) in fresh.items():
            size = _bytes(row)
            if size <= self._prepared_bytes:
                self._prepared_bytes -= size
                self._prepared[key] = (row, target)
        return fresh

    def _batch_of(self, views: Tensor) -> ViewBatch:
        return ViewBatch.of(views, framed=self._framing is not None)

    def _read(self, indices: Sequence[int]) -> dict[int, Tensor]:
        """Return the views of the readable examples; record the unreadable ones."""
        requested = dict.fromkeys(indices)
        missing = [i for i in requested if i not in self._views and i not in self.unreadable]
        with ThreadPoolExecutor(min(len(missing), os.cpu_count() or 1) or 1) as pool:
            images = dict(zip(missing, pool.map(self._decode, missing), strict=True))
        views = {i: self._views[i] for i in requested if i in self._views}
        for i, image in images.items():
            if isinstance(image, ImageError):
                self.unreadable[i] = str(image)
                logger.warning("Left out of training: %s", image)
                continue
            views[i] = view = self._make_view(i, image)
            if view.numel() <= self._view_bytes:
                self._view_bytes -= view.numel()
                self._views[i] = view
        return views

    def _decode(self, i: int) -> Image | ImageError:
        source = self._examples[i].image
        try:
            return source if isinstance(source, np.ndarray) else batches.read(source)
        except ImageError as error:
            return error

    def _make_view(self, i: int, image: Image) -> Tensor:
        """Return the view of an image, and store its target relative to the view."""
        example = self._examples[i]
        target = example.target
        if example.hidden:
            image = mask_out(image, example.hidden, keep=target.boxes_xyxy)
        if example.window is not None:
            image, target = crop(image, target, example.window)
        batch = Batch(ids=("",), images=(image,))
        if self._framing is None:
            views = batch.view(*self._model.view_size)
        else:
            views, (inset,) = self._framing.training_view(batch)
            target = _to_view(target, inset, *views.shape[-2:])
        self._targets[i] = target
        return views[0].to(self._device)


def _to_view(target: Detections, inset: Inset, height: int, width: int) -> Detections:
    """Return boxes of an image as boxes of the view that contains it."""
    scale = np.array([inset.width, inset.height] * 2)
    moved = target.boxes_xyxy * scale + np.array([inset.left, inset.top] * 2)
    relative = (moved / np.array([width, height] * 2)).astype(np.float32)
    return replace(target, boxes_xyxy=relative)


def _select_row(tensors: Tensors, i: int) -> dict[str, Any]:
    """Return the tensors of image `i`, with a batch dimension, as views of the batch."""
    return {
        name: [part[i : i + 1] for part in value] if isinstance(value, list) else value[i : i + 1]
        for name, value in tensors.items()
    }


def _concatenate(rows: Sequence[dict[str, Any]]) -> Tensors:
    return {
        name: [torch.cat(parts) for parts in zip(*(row[name] for row in rows), strict=True)]
        if isinstance(first, list)
        else torch.cat([row[name] for row in rows])
        for name, first in rows[0].items()
    }


def _bytes(row: dict[str, Any]) -> int:
    parts = [p for value in row.values() for p in (value if isinstance(value, list) else [value])]
    return sum(part.numel() * part.element_size() for part in parts)
