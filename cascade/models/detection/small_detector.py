"""Shared base of the small detectors: classes, network and checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import nn

from cascade.checkpoints.checkpoint import restore, save, state
from cascade.models.detection.detector_head import (
    ClassMapping,
    open_checkpoint,
    require_classes,
    retarget,
)


@dataclass(frozen=True)
class Blueprint:
    """Recipe of a small detector's network.

    Attributes:
        adapter: Name of the adapter, recorded in its checkpoints.
        architecture: Default architecture.
        build: Returns a network for a number of classes, an architecture and a random seed.
        is_class_tensor: Whether the tensor of that name has one row per class.
        key: Key of the architecture in a checkpoint's config.
        check: Raises a CheckpointError for a checkpoint's architecture that must not be built.
    """

    adapter: str
    architecture: Any
    build: Callable[[int, Any, int], nn.Module]
    is_class_tensor: Callable[[str], bool]
    key: str = "architecture"
    check: Callable[[Any, Path], None] | None = None


class SmallDetector:
    """Detector loaded from a checkpoint, or newly initialized if there is none.

    An adapter sets `blueprint` and adds views, decoding and loss.

    Args:
        checkpoint: Folder written by `save`.
        classes: Class names of a new network.
        size: Height and width that images are stretched to, in pixels; a multiple of 32.
        seed: Random seed of the initialization.

    Raises:
        CheckpointError: The checkpoint is missing or for another adapter, or no classes are given.
    """

    blueprint: Blueprint

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        classes: Sequence[str] | None = None,
        size: int = 320,
        seed: int = 0,
    ) -> None:
        blueprint = self.blueprint
        key, tensors = blueprint.key, None
        if checkpoint is None:
            names = require_classes(classes)
            config = {"classes": names, "size": size, key: blueprint.architecture}
        else:
            keys = ("classes", "size", key)
            config, tensors = open_checkpoint(checkpoint, adapter=blueprint.adapter, keys=keys)
            if blueprint.check:
                blueprint.check(config[key], checkpoint)
        self._architecture = config[key]
        self.classes: tuple[str, ...] = tuple(config["classes"])
        self.size: int = config["size"]
        self.module = blueprint.build(len(self.classes), self._architecture, seed)
        if tensors is not None:
            restore(self.module, tensors, origin=checkpoint)

    @property
    def view_size(self) -> tuple[int, int]:
        """Height and width that images are stretched to, in pixels."""
        return self.size, self.size

    def with_classes(self, classes: Sequence[str], *, meaning: ClassMapping | None = None) -> Self:
        """Return a copy that names `classes` and keeps what was learned about them."""
        names = require_classes(classes)
        module = self.blueprint.build(len(names), self._architecture, 0)
        return retarget(
            self, names, module, is_class_tensor=self.blueprint.is_class_tensor, meaning=meaning
        )

    def save(self, folder: Path) -> None:
        """Write the checkpoint into `folder` atomically."""
        config = {
            "adapter": self.blueprint.adapter,
            "classes": list(self.classes),
            "size": self.size,
            self.blueprint.key: self._architecture,
        }
        save(folder, config, state(self.module))
