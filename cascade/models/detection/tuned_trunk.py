"""Small detector with its own, trainable trunk.

The small members of an ensemble share one frozen trunk, which is computed once for all of them.
A model that runs alone saves nothing by that, and learns far more with a trained trunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cascade.checkpoints.checkpoint import load, restore, save, state
from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.models.detection.center_point import CenterPoint
from cascade.models.detection.detector_head import ClassMapping, atomic_folder
from cascade.models.detection.rt_detr import RtDetr
from cascade.models.embedding import mobilenet
from cascade.predictions import Detections
from cascade.protocols import Tensors

ADAPTER = "tuned_trunk"
TRUNK_PACE = 0.3  # share of the learning rate: the trunk is pretrained
_HEADS: dict[str, type[CenterPoint | RtDetr]] = {"center_point": CenterPoint, "rt_detr": RtDetr}
_HEAD = "head"  # subfolder with the head's checkpoint


class TunedTrunk:
    """Detector read from a checkpoint, or with a new head.

    Args:
        checkpoint: Folder written by `save`, or the checkpoint of a head alone, which is then
            placed on the packaged trunk with unchanged predictions.
        head: Adapter of a new head: `center_point` or `rt_detr`.
        trunk_weights: File with the trunk's weights, for a machine without the package.
        params: Parameters of a new head, such as `classes` and `size`.

    Raises:
        CheckpointError: The checkpoint is missing or for another adapter, or no classes are given.
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
            config, tensors = load(checkpoint)
            adapter = config.get("adapter")
            if adapter != ADAPTER:
                head, tensors = str(adapter), None
            else:
                head, checkpoint = str(config.get("head")), checkpoint / _HEAD
        if head not in _HEADS:
            raise CheckpointError(
                f"{checkpoint or 'head'} is for the adapter {head!r}, expected {ADAPTER!r} or a "
                f"head: {sorted(_HEADS)}."
            )
        self._name = head
        self._head = _HEADS[head](checkpoint, **({} if checkpoint else params))
        self.module = _TrunkAndHead(mobilenet.Trunk(trunk_weights), self._head.module)
        if checkpoint is not None and tensors is not None:
            restore(self.module.trunk, tensors, origin=checkpoint.parent)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the detections."""
        return self._head.classes

    @property
    def view_size(self) -> tuple[int, int]:
        """Height and width that images are stretched to, in pixels."""
        return self._head.view_size

    def prepare(self, batch: Batch) -> Tensors:
        """Return the stretched images, (B, 3, H, W), uint8."""
        return {"view": batch.view(*self.view_size)}

    def forward(self, tensors: Tensors) -> Any:
        """Return the head's raw outputs."""
        return self._head.forward(self._features(tensors))

    def decode(self, raw: Any, batch: Batch) -> list[Detections]:
        """Return the head's boxes."""
        return self._head.decode(raw, batch)

    def loss(self, tensors: Tensors, targets: Sequence[Detections]) -> Tensor:
        """Return the head's loss."""
        return self._head.loss(self._features(tensors), targets)

    def pace(self, name: str) -> float:
        """Return the factor of the learning rate for a parameter of `module`."""
        return TRUNK_PACE if name.startswith("trunk.") else 1.0

    def with_classes(
        self, classes: Sequence[str], *, meaning: ClassMapping | None = None
    ) -> TunedTrunk:
        """Return a copy that names `classes` and keeps what was learned about them."""
        other = copy(self)
        other._head = self._head.with_classes(classes, meaning=meaning)
        other.module = deepcopy(self.module)
        other.module.head = other._head.module
        return other

    def save(self, folder: Path) -> None:
        """Write the checkpoint into `folder` atomically."""
        config = {"adapter": ADAPTER, "head": self._name, "classes": list(self.classes)}
        with atomic_folder(folder) as draft:
            save(draft, config, state(self.module.trunk))
            self._head.save(draft / _HEAD)

    def _features(self, tensors: Tensors) -> Tensors:
        return {"features": self.module.features(tensors["view"])}


class _TrunkAndHead(nn.Module):
    """Trainable trunk and head; the head's adapter calls the head itself."""

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: mobilenet.Trunk, head: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk.layers[: mobilenet.TAPS[-1] + 1].requires_grad_(True)
        self.head = head
        self.register_buffer("mean", trunk.mean, persistent=False)
        self.register_buffer("std", trunk.std, persistent=False)

    def features(self, view: Tensor) -> list[Tensor]:
        """Return the maps at strides 8, 16 and 32 of a view (B, 3, H, W), uint8."""
        return mobilenet.feature_maps(self.trunk, mobilenet.normalize(view, self.mean, self.std))
