"""What a detector learns from: images with their targets, made ready once and kept.

What `prepare` returns does not depend on what is trained (a frozen trunk's maps, or plain
pixels), so it is kept for a few changed variants of each image instead of being computed in
every epoch. Memory is bounded: what does not fit is computed again. An image that cannot be read
is put on record and left out.
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
    Change,
    Effects,
    apply,
    cut_out,
    draw,
    paint_over,
)

logger = logging.getLogger(__name__)

VIEW_BYTES = 1 << 30
PREPARED_BYTES = 2 << 30
Corners = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Example:
    """An image and what is to be found in it.

    Attributes:
        image: A file, or pixels: RGB, uint8, shape (H, W, 3), upright.
        target: The ground truth of the whole image; it uses the model's classes.
        window: The part `x1, y1, x2, y2` that is learned from, relative; None for all of it.
        hidden: Parts of which nobody knows what they are, relative to the image; painted over,
            but for where they overlap the target's boxes.
    """

    image: Path | str | Image
    target: Detections
    window: Corners | None = None
    hidden: tuple[Corners, ...] = ()


@runtime_checkable
class Framing(Protocol):
    """A model whose view is not simply the image stretched to `view_size`, antialiased."""

    def training_view(self, batch: Batch) -> tuple[Tensor, list[Inset]]:
        """Return the views (B, 3, H, W), uint8, that `prepare` would begin with.

        Beside them, where each image lies in its view.
        """
        ...


@dataclass(frozen=True, eq=False)
class ViewBatch(Batch):
    """A batch of which one view is there already, and the images are not.

    Attributes:
        views: Shape (B, 3, H, W), uint8.
        framed: Whether the model made the views itself, in whatever way it resizes.
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
        """Return the view, which must be of this size; it was resized in this mode.

        Raises:
            TrainingError: Another size was asked for.
        """
        if (height, width) != self.views.shape[-2:] or (mode != "bilinear" and not self.framed):
            raise TrainingError(
                f"The views are {tuple(self.views.shape[-2:])} pixels, "
                f"the model asks for {(height, width)}; it must say so in `view_size`."
            )
        return self.views

    def pixels(self) -> list[Tensor]:
        """Return each view, (1, 3, H, W), as if it were an image of its own."""
        return [self.views[i : i + 1] for i in range(len(self))]


class Shelf:
    """Examples, ready for one model, in several variants: number 0 is the unchanged image.

    Args:
        model: Whose `prepare` makes them ready.
        examples: The images and targets.
        seed: Of the variants: number v of example i is the same in every run.
        device: Where the model works, and where the views are kept.
        effects: How probable night, rain, blur and JPEG are in a variant.
        view_bytes: Memory for the images at the model's size.
        prepared_bytes: Memory for what `prepare` returned.
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
        self._seed = seed
        self._device = device
        self._effects = effects
        self._views: dict[int, Tensor] = {}
        self._targets: dict[int, Detections] = {}
        self._ready: dict[tuple[int, int], tuple[dict[str, Any], Detections]] = {}
        self._view_bytes = view_bytes
        self._prepared_bytes = prepared_bytes
        self.unreadable: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._examples)

    def batch(self, wanted: Sequence[tuple[int, int]]) -> tuple[Tensors, list[Detections]]:
        """Return tensors and targets of `(example, variant)` pairs, ready for the model.

        Pairs whose image cannot be read are left out; where none is left, the tensors are empty.
        Targets are relative to the view.
        """
        missing = [key for key in wanted if key not in self._ready]
        fresh = self._prepare([key for key in missing if key[0] not in self.unreadable])
        parts = [self._ready.get(key) or fresh.get(key) for key in wanted]
        found = [part for part in parts if part is not None]
        if not found:
            return {}, []
        return _joined([tensors for tensors, _ in found]), [target for _, target in found]

    def view_batch(self, indices: Sequence[int]) -> ViewBatch:
        """Return the unchanged views of those of some examples that can be read."""
        views = self._read(indices)
        return self._batch_of(torch.stack([views[i] for i in indices if i in views]))

    def _prepare(
        self, keys: Sequence[tuple[int, int]]
    ) -> dict[tuple[int, int], tuple[dict[str, Any], Detections]]:
        originals = self._read([i for i, _ in keys])
        keys = [key for key in keys if key[0] in originals]
        if not keys:
            return {}
        views = torch.stack([originals[i] for i, _ in keys])
        targets = [self._targets[i] for i, _ in keys]
        views, targets = apply(views, targets, [self._change(*key) for key in keys])
        with torch.no_grad():
            tensors = self._model.prepare(self._batch_of(views))
        fresh = {key: (_row(tensors, i), targets[i]) for i, key in enumerate(keys)}
        for key, (row, target) in fresh.items():
            size = _bytes(row)
            if size <= self._prepared_bytes:
                self._prepared_bytes -= size
                self._ready[key] = (row, target)
        return fresh

    def _batch_of(self, views: Tensor) -> ViewBatch:
        return ViewBatch.of(views, framed=self._framing is not None)

    def _change(self, index: int, variant: int) -> Change:
        if variant == 0:
            return UNCHANGED
        rng = np.random.default_rng((self._seed, index, variant))
        return draw(rng, effects=self._effects)

    def _read(self, indices: Sequence[int]) -> dict[int, Tensor]:
        """Return the views of those examples that can be read; the others go on record."""
        wanted = dict.fromkeys(indices)
        missing = [i for i in wanted if i not in self._views and i not in self.unreadable]
        with ThreadPoolExecutor(min(len(missing), os.cpu_count() or 1) or 1) as pool:
            images_of = dict(zip(missing, pool.map(self._decoded, missing), strict=True))
        views = {i: self._views[i] for i in wanted if i in self._views}
        for i, image in images_of.items():
            if isinstance(image, ImageError):
                self.unreadable[i] = str(image)
                logger.warning("Left out of training: %s", image)
                continue
            views[i] = view = self._framed(i, image)
            if view.numel() <= self._view_bytes:
                self._view_bytes -= view.numel()
                self._views[i] = view
        return views

    def _decoded(self, i: int) -> Image | ImageError:
        source = self._examples[i].image
        try:
            return source if isinstance(source, np.ndarray) else batches.read(source)
        except ImageError as error:
            return error

    def _framed(self, i: int, image: Image) -> Tensor:
        """Return the view of an image, and take note of where its objects are in it."""
        one = self._examples[i]
        target = one.target
        if one.hidden:
            image = paint_over(image, one.hidden, kept=target.boxes_xyxy)
        if one.window is not None:
            image, target = cut_out(image, target, one.window)
        batch = Batch(ids=("",), images=(image,))
        if self._framing is None:
            self._targets[i] = target
            return batch.view(*self._model.view_size)[0].to(self._device)
        views, (inset,) = self._framing.training_view(batch)
        self._targets[i] = _inside(target, inset, *views.shape[-2:])
        return views[0].to(self._device)


def _inside(target: Detections, place: Inset, height: int, width: int) -> Detections:
    """Return boxes of an image as boxes of the view in which it lies."""
    scale = np.array([place.width, place.height] * 2)
    moved = target.boxes_xyxy * scale + np.array([place.left, place.top] * 2)
    relative = (moved / np.array([width, height] * 2)).astype(np.float32)
    return replace(target, boxes_xyxy=relative)


def _row(tensors: Tensors, i: int) -> dict[str, Any]:
    """Return the part of image `i`, still with a batch dimension, in the batch's memory."""
    return {
        name: [part[i : i + 1] for part in one] if isinstance(one, list) else one[i : i + 1]
        for name, one in tensors.items()
    }


def _joined(rows: Sequence[dict[str, Any]]) -> Tensors:
    joined: dict[str, Any] = {}
    for name, first in rows[0].items():
        if isinstance(first, list):
            joined[name] = [torch.cat([row[name][k] for row in rows]) for k in range(len(first))]
        else:
            joined[name] = torch.cat([row[name] for row in rows])
    return joined


def _bytes(row: dict[str, Any]) -> int:
    parts = [part for one in row.values() for part in (one if isinstance(one, list) else [one])]
    return sum(part.numel() * part.element_size() for part in parts)
