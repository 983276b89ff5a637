"""What a detector learns from: images with their targets, made ready once and kept.

What `prepare` returns does not depend on what is trained (a frozen trunk's maps, or plain
pixels), so it is kept for a few changed variants of each image instead of being computed in
every epoch. Memory is bounded: what does not fit is computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cascade import images
from cascade.errors import TrainingError
from cascade.images import Batch, Image
from cascade.model import Tensors, Trainable
from cascade.predictions import Detections
from cascade.training.augment import UNCHANGED, Change, apply, draw
from cascade.views import Mode

VIEW_BYTES = 1 << 30
PREPARED_BYTES = 2 << 30


@dataclass(frozen=True, eq=False)
class Example:
    """An image and what is to be found in it.

    Attributes:
        image: A file, or pixels: RGB, uint8, shape (H, W, 3), upright.
        target: The ground truth; it uses the model's classes.
    """

    image: Path | str | Image
    target: Detections


@dataclass(frozen=True, eq=False)
class ViewBatch(Batch):
    """A batch of which one view is there already, and the images are not.

    Attributes:
        views: Shape (B, 3, H, W), uint8.
    """

    views: Tensor = field(kw_only=True)

    @classmethod
    def of(cls, views: Tensor) -> ViewBatch:
        """Return the batch of these views, on their device."""
        ids = tuple(str(i) for i in range(len(views)))
        return cls(ids=ids, images=(), device=views.device, views=views)

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
        if (height, width) != self.views.shape[-2:] or mode != "bilinear":
            raise TrainingError(
                f"The views are {tuple(self.views.shape[-2:])} pixels, "
                f"the model asks for {(height, width)}; it must say so in `view_size`."
            )
        return self.views


class Shelf:
    """Examples, ready for one model, in several variants: number 0 is the unchanged image.

    Args:
        model: Whose `prepare` makes them ready.
        examples: The images and targets.
        seed: Of the variants: number v of example i is the same in every run.
        device: Where the model works.
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
        view_bytes: int = VIEW_BYTES,
        prepared_bytes: int = PREPARED_BYTES,
    ) -> None:
        self._model = model
        self._examples = examples
        self._seed = seed
        self._device = device
        self._views: dict[int, Tensor] = {}
        self._ready: dict[tuple[int, int], tuple[dict[str, Any], Detections]] = {}
        self._view_bytes = view_bytes
        self._prepared_bytes = prepared_bytes

    def __len__(self) -> int:
        return len(self._examples)

    @property
    def targets(self) -> list[Detections]:
        """The ground truth of the unchanged images."""
        return [one.target for one in self._examples]

    def batch(self, wanted: Sequence[tuple[int, int]]) -> tuple[Tensors, list[Detections]]:
        """Return tensors and targets of `(example, variant)` pairs, ready for the model.

        Raises:
            ImageError: An image cannot be read.
        """
        fresh = self._prepare([key for key in wanted if key not in self._ready])
        parts = [self._ready.get(key) or fresh[key] for key in wanted]
        return _joined([tensors for tensors, _ in parts]), [target for _, target in parts]

    def view_batch(self, indices: Sequence[int]) -> ViewBatch:
        """Return the unchanged views of some examples."""
        return ViewBatch.of(torch.stack([self._view(i) for i in indices]).to(self._device))

    def _prepare(
        self, keys: Sequence[tuple[int, int]]
    ) -> dict[tuple[int, int], tuple[dict[str, Any], Detections]]:
        if not keys:
            return {}
        views = self.view_batch([i for i, _ in keys]).views
        targets = [self._examples[i].target for i, _ in keys]
        views, targets = apply(views, targets, [self._change(*key) for key in keys])
        with torch.no_grad():
            tensors = self._model.prepare(ViewBatch.of(views))
        fresh = {key: (_row(tensors, i), targets[i]) for i, key in enumerate(keys)}
        for key, (row, target) in fresh.items():
            size = _bytes(row)
            if size <= self._prepared_bytes:
                self._prepared_bytes -= size
                self._ready[key] = (row, target)
        return fresh

    def _change(self, index: int, variant: int) -> Change:
        if variant == 0:
            return UNCHANGED
        return draw(np.random.default_rng((self._seed, index, variant)))

    def _view(self, index: int) -> Tensor:
        if index in self._views:
            return self._views[index]
        source = self._examples[index].image
        pixels = source if isinstance(source, np.ndarray) else images.read(source)
        view = Batch(ids=("",), images=(pixels,)).view(*self._model.view_size)[0]
        if view.numel() <= self._view_bytes:
            self._view_bytes -= view.numel()
            self._views[index] = view
        return view


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
