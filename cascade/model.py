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

from cascade.images import Batch
from cascade.predictions import Detections, Embedding

Tensors = Mapping[str, Any]  # mostly Tensor; a list of Tensor for feature pyramids


@runtime_checkable
class Embedder(Protocol):
    """Places images in a feature space."""

    @property
    def dimensions(self) -> int:
        """The length D of every vector."""
        ...

    def prepare(self, batch: Batch) -> Tensors:
        """Return what `forward` needs, on the batch's device."""
        ...

    def forward(self, tensors: Tensors) -> Any:
        """Return raw outputs."""
        ...

    def decode(self, raw: Any, batch: Batch) -> list[Embedding]:
        """Return one embedding per image, in order."""
        ...


@runtime_checkable
class Detector(Protocol):
    """Finds boxes in images."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that its detections use, in its own words."""
        ...

    def prepare(self, batch: Batch) -> Tensors:
        """Return what `forward` needs, on the batch's device."""
        ...

    def forward(self, tensors: Tensors) -> Any:
        """Return raw outputs."""
        ...

    def decode(self, raw: Any, batch: Batch) -> list[Detections]:
        """Return one `Detections` per image, in order; scores below 0.01 are left out."""
        ...


@runtime_checkable
class Trainable(Detector, Protocol):
    """A detector that can be fitted and saved.

    A checkpoint is a folder with `config.json` (readable: architecture, classes, sizes)
    and `weights.safetensors`. Never a pickle.
    """

    @property
    def view_size(self) -> tuple[int, int]:
        """Height and width of the view that it works on, in pixels."""
        ...

    @property
    def module(self) -> nn.Module:
        """What holds the parameters; those that do not require a gradient stay frozen."""
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


def predict(model: Embedder | Detector, batch: Batch) -> list[Any]:
    """Run the three calls on one batch, without gradients."""
    with torch.inference_mode():
        raw = model.forward(model.prepare(batch))
    return model.decode(raw, batch)
