"""The seam between the engine and every model.

An adapter answers three calls, so that the engine can share decoding between members,
compile and autocast what runs on the device, and unpack results in a thread:

    tensors = model.prepare(batch)        # shared, decoded-once views
    raw     = model.forward(tensors)      # tensors to tensors: nothing else happens here
    results = model.decode(raw, batch)    # one value of `predictions.py` an image
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from cascade.imaging.batches import Batch
from cascade.predictions import Answer, DepthMap, Detections, Embedding, Failure, Masks, Tracks

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Tensors = Mapping[str, Any]  # mostly Tensor; a list of Tensor for feature pyramids


class Model(Protocol):
    """What every adapter offers, whatever its tier."""

    @property
    def module(self) -> nn.Module:
        """What holds the parameters; `nn.Identity()` where they live elsewhere (a server)."""
        ...

    def prepare(self, batch: Batch) -> Tensors:
        """Return what `forward` needs, on the batch's device."""
        ...

    def forward(self, tensors: Tensors) -> Any:
        """Return raw outputs."""
        ...


@runtime_checkable
class Embedder(Model, Protocol):
    """Places images in a feature space."""

    @property
    def dimensions(self) -> int:
        """The length D of every vector."""
        ...

    def decode(self, raw: Any, batch: Batch) -> list[Embedding]:
        """Return one embedding per image, in order."""
        ...


@runtime_checkable
class Detector(Model, Protocol):
    """Finds boxes in images."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that its detections use, in its own words."""
        ...

    def decode(self, raw: Any, batch: Batch) -> list[Detections]:
        """Return one `Detections` per image, in order; scores below 0.01 are left out."""
        ...


@runtime_checkable
class Segmenter(Model, Protocol):
    """Outlines objects: by concept, or inside the boxes that a batch brings as `found`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that its masks use, in its own words; empty where it is prompted by boxes."""
        ...

    def decode(self, raw: Any, batch: Batch) -> list[Masks]:
        """Return the `Masks` of each image, in order; prompted by boxes, one mask a box."""
        ...


@runtime_checkable
class DepthEstimator(Model, Protocol):
    """Tells how far away every pixel is."""

    def decode(self, raw: Any, batch: Batch) -> list[DepthMap]:
        """Return one map per image, in order."""
        ...


@runtime_checkable
class LanguageModel(Model, Protocol):
    """Answers the taxonomy's question about an image, with what was `found` as context."""

    def decode(self, raw: Any, batch: Batch) -> list[Answer | Failure]:
        """Return one answer per image, in order; a `Failure` where the server gave none."""
        ...


@runtime_checkable
class Tracker(Protocol):
    """Follows objects through the frames of one clip."""

    def track(self, frames: Sequence[Detections], batch: Batch) -> list[Tracks]:
        """Return the frames' boxes with an identity each.

        Args:
            frames: What was found in each frame, in order of time.
            batch: The frames' images, of the same length; a tracker that works on boxes alone
                does not look at them.
        """
        ...


@runtime_checkable
class Trainable(Detector, Protocol):
    """A detector that can be fitted and saved.

    A checkpoint is a folder with `config.json` (readable: architecture, classes, sizes)
    and `weights.safetensors`. Never a pickle. Parameters of `module` that do not require a
    gradient stay frozen.
    """

    @property
    def view_size(self) -> tuple[int, int]:
        """Height and width of the view that it works on, in pixels."""
        ...

    def loss(self, tensors: Tensors, targets: Sequence[Detections]) -> Tensor:
        """Return the scalar loss of one batch; `targets` use `classes`."""
        ...

    def with_classes(
        self, classes: Sequence[str], *, meaning: Callable[[str], str | None] | None = None
    ) -> Trainable:
        """Return a copy that names `classes`; what it knew of a class stays.

        `meaning` tells which of `classes` a name of its own stands for, case aside: itself,
        where it is None.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the checkpoint into `folder`, whole or not at all."""
        ...


def predict(model: Any, batch: Batch) -> list[Any]:
    """Run the three calls on one batch, without gradients."""
    with torch.inference_mode():
        raw = model.forward(model.prepare(batch))
    return model.decode(raw, batch)
