"""Interfaces between the engine and the models.

An adapter has three methods. The engine can thus share decoded images between members, compile
and autocast the part that runs on the device, and decode results in a thread:

    tensors     = model.prepare(batch)        # views that members share
    raw         = model.forward(tensors)      # pure tensor computation
    predictions = model.decode(raw, batch)    # one value of `predictions.py` per image
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from cascade.imaging.batches import Batch
from cascade.predictions import (
    Answer,
    DepthMap,
    Detections,
    Embedding,
    Failure,
    Masks,
    Prediction,
    Tracks,
)

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Tensors = Mapping[str, Any]  # mostly Tensor; a list of Tensor for feature pyramids


class Model(Protocol):
    """Interface of every adapter, in any tier."""

    @property
    def module(self) -> nn.Module:
        """The module with the parameters; `nn.Identity()` for a model on a server."""
        ...

    def prepare(self, batch: Batch) -> Tensors:
        """Return the inputs of `forward`, on the batch's device."""
        ...

    def forward(self, tensors: Tensors) -> Any:
        """Return the raw outputs."""
        ...

    def decode(self, raw: Any, batch: Batch) -> Sequence[Prediction | Failure]:
        """Return one prediction per image, in order."""
        ...


@runtime_checkable
class Embedder(Model, Protocol):
    """Model that maps images to feature vectors."""

    @property
    def dimensions(self) -> int:
        """The length D of every vector."""
        ...

    def decode(self, raw: Any, batch: Batch) -> list[Embedding]:
        """Return one embedding per image, in order."""
        ...


@runtime_checkable
class Detector(Model, Protocol):
    """Model that detects boxes in images."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The model's native class names, used by its detections."""
        ...

    def decode(self, raw: Any, batch: Batch) -> list[Detections]:
        """Return one `Detections` per image, in order, without scores below 0.01."""
        ...


@runtime_checkable
class Segmenter(Model, Protocol):
    """Model that outlines objects, by concept or inside `Batch.detections`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The model's native class names; empty if it is prompted by boxes."""
        ...

    def decode(self, raw: Any, batch: Batch) -> list[Masks]:
        """Return the `Masks` of each image, in order; one mask per box if prompted by boxes."""
        ...


@runtime_checkable
class DepthEstimator(Model, Protocol):
    """Model that estimates the distance of every pixel."""

    def decode(self, raw: Any, batch: Batch) -> list[DepthMap]:
        """Return one map per image, in order."""
        ...


@runtime_checkable
class LanguageModel(Model, Protocol):
    """Model that answers the taxonomy's question, with `Batch.detections` as context."""

    def decode(self, raw: Any, batch: Batch) -> list[Answer | Failure]:
        """Return one answer per image, in order; a `Failure` if the server returned none."""
        ...


@runtime_checkable
class Tracker(Protocol):
    """Model that follows objects through the frames of one clip."""

    def track(self, frames: Sequence[Detections], batch: Batch) -> list[Tracks]:
        """Return the boxes of each frame with track ids.

        Args:
            frames: Detections of each frame, in temporal order.
            batch: Images of the frames; a tracker that needs only boxes ignores them.
        """
        ...


@runtime_checkable
class Trainable(Detector, Protocol):
    """A detector that can be trained and saved.

    A checkpoint is a folder with `config.json` (readable: architecture, classes, sizes)
    and `weights.safetensors`, never a pickle. Parameters of `module` that do not require a
    gradient stay frozen.
    """

    @property
    def view_size(self) -> tuple[int, int]:
        """Height and width of the model's input, in pixels."""
        ...

    def loss(self, tensors: Tensors, targets: Sequence[Detections]) -> Tensor:
        """Return the scalar loss of one batch; `targets` use `classes`."""
        ...

    def with_classes(
        self, classes: Sequence[str], *, meaning: Callable[[str], str | None] | None = None
    ) -> Trainable:
        """Return a copy that predicts `classes` and keeps the weights of the shared ones.

        Args:
            classes: The new class names.
            meaning: Maps an old class name to one of `classes`; None compares the names,
                ignoring case.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the checkpoint into `folder`, completely or not at all."""
        ...


def predict(model: Any, batch: Batch) -> list[Any]:
    """Run the three methods on one batch, without gradients."""
    with torch.inference_mode():
        raw = model.forward(model.prepare(batch))
    return model.decode(raw, batch)
