"""A small detector together with a trunk of its own, which learns, too.

The ensemble's small members share one frozen trunk, so that it is computed once for all of them.
A model that works alone saves nothing by that: with its trunk trained it learns far more.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor, nn

from cascade.checkpoints import checkpoint as checkpoints
from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.models.detection.center_point import CenterPoint
from cascade.models.detection.rt_detr import RtDetr
from cascade.models.embedding import mobilenet
from cascade.predictions import Detections
from cascade.protocols import Tensors

ADAPTER = "tuned_trunk"
TRUNK_PACE = 0.3  # of the learning rate: its weights are good already
_HEADS: dict[str, Callable[..., Any]] = {"center_point": CenterPoint, "rt_detr": RtDetr}
_HEAD = "head"  # the folder of its checkpoint, within that of the whole
_TAPS = (6, 13, 17)  # the layers that give the maps of strides 8, 16 and 32


class TunedTrunk:
    """The detector, read from a checkpoint or, where that is None, with a new head.

    Args:
        checkpoint: A folder that `save` wrote, or the checkpoint of a head alone: that one then
            sits on the packaged trunk, as it did before, and says the same.
        head: The adapter of a new head: `center_point` or `rt_detr`.
        trunk_weights: Another file of the packaged trunk, for a machine without the package.
        params: Of a new head, such as `classes` and `size`.

    Raises:
        CheckpointError: The checkpoint is absent or another adapter's, or there are no classes.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        head: str = "center_point",
        trunk_weights: Path | None = None,
        **params: Any,
    ) -> None:
        tensors = None
        if checkpoint is not None:
            config, tensors = checkpoints.load(checkpoint)
            adapter = config.get("adapter")
            if adapter != ADAPTER:
                head, tensors = str(adapter), None
            else:
                head, checkpoint = str(config.get("head")), checkpoint / _HEAD
        if head not in _HEADS:
            raise CheckpointError(
                f"{checkpoint or 'head'} is of the adapter {head!r}, expected {ADAPTER!r} or one "
                f"of the heads that sit on the trunk: {sorted(_HEADS)}."
            )
        self._name = head
        self._head = _HEADS[head](checkpoint, **({} if checkpoint else params))
        self.module = _Whole(mobilenet.Trunk(trunk_weights), self._head.module)
        if checkpoint is not None and tensors is not None:
            checkpoints.restore(self.module.trunk, tensors, origin=checkpoint.parent)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that its detections use."""
        names: tuple[str, ...] = self._head.classes
        return names

    @property
    def view_size(self) -> tuple[int, int]:
        """Height and width that images are stretched to, in pixels."""
        size: tuple[int, int] = self._head.view_size
        return size

    def prepare(self, batch: Batch) -> Tensors:
        """Return the view that `forward` needs."""
        return {"view": batch.view(*self.view_size)}

    def forward(self, tensors: Tensors) -> Any:
        """Return what the head makes of the trunk's maps."""
        return self._head.forward({"features": self.module.features(tensors["view"])})

    def decode(self, raw: Any, batch: Batch) -> list[Detections]:
        """Return the head's boxes."""
        found: list[Detections] = self._head.decode(raw, batch)
        return found

    def loss(self, tensors: Tensors, targets: Sequence[Detections]) -> Tensor:
        """Return the head's loss."""
        maps = self.module.features(tensors["view"])
        loss: Tensor = self._head.loss({"features": maps}, targets)
        return loss

    def pace(self, name: str) -> float:
        """Return the share of the learning rate at which a parameter of `module` learns."""
        return TRUNK_PACE if name.startswith("trunk.") else 1.0

    def with_classes(
        self, classes: Sequence[str], *, meaning: Callable[[str], str | None] | None = None
    ) -> TunedTrunk:
        """Return a copy that names `classes`; what it knew of a class stays."""
        other = copy(self)
        other._head = self._head.with_classes(classes, meaning=meaning)
        other.module = deepcopy(self.module)
        other.module.head = other._head.module
        return other

    def save(self, folder: Path) -> None:
        """Write the checkpoint into `folder`, whole or not at all."""
        config = {"adapter": ADAPTER, "head": self._name, "classes": list(self.classes)}
        draft = folder.with_name(f".{folder.name}.{uuid4().hex}")
        try:
            checkpoints.save(draft, config, checkpoints.state(self.module.trunk))
            self._head.save(draft / _HEAD)
            checkpoints.put_in_place(draft, folder)
        except OSError as error:
            raise CheckpointError(f"The checkpoint {folder} cannot be written: {error}.") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)


class _Whole(nn.Module):
    """Trunk and head; the head's adapter calls the latter itself."""

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: mobilenet.Trunk, head: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk.layers[: _TAPS[-1] + 1].requires_grad_(True)
        self.head = head
        self.register_buffer("mean", trunk.mean, persistent=False)
        self.register_buffer("std", trunk.std, persistent=False)

    def features(self, view: Tensor) -> list[Tensor]:
        """Return the maps at strides 8, 16 and 32 of a view (B, 3, H, W), uint8."""
        pixels = (view.float() - self.mean) / self.std
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        maps = []
        for i, layer in enumerate(self.trunk):
            pixels = layer(pixels)
            if i in _TAPS:
                maps.append(pixels.float())
        return maps
