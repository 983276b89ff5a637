"""Views of images as a checkpoint's image processor defines them.

Sizes, interpolation and normalization are read from the checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import AutoImageProcessor

from cascade.errors import CheckpointError
from cascade.imaging import resizing
from cascade.imaging.batches import Batch
from cascade.imaging.resizing import Mode

Resize = Literal["stretch", "shortest", "nearest_side"]
_MODES: dict[int, Mode] = {2: "bilinear", 3: "bicubic"}  # keys are Pillow's numbers
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class ProcessorView:
    """Resizing, cropping and normalization of an image.

    Attributes:
        size: Height and width after resizing; equal if only one side is given.
        resize: `stretch` to exactly that size; to the `shortest` side, proportions kept; or by
            the `nearest_side`, the side that changes the image less, proportions kept.
        mode: Interpolation, antialiased.
        mean: Mean of red, green and blue.
        std: Standard deviation of red, green and blue.
        factor: Factor for pixels in 0..255, before normalization.
        multiple: Number that sides are rounded to a multiple of, for `nearest_side`.
        crop: Height and width of the central crop after resizing; None for no crop.
        half_pixel: Rounding of the crop's offset for an odd border: `down` (transformers) or to
            the `even` pixel (torchvision).
    """

    size: tuple[int, int]
    resize: Resize
    mode: Mode
    mean: tuple[float, ...]
    std: tuple[float, ...]
    factor: float = 1 / 255
    multiple: int = 1
    crop: tuple[int, int] | None = None
    half_pixel: Literal["down", "even"] = "down"

    def resized_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width after resizing and before the crop."""
        if self.resize == "stretch":
            return self.size
        if self.resize == "shortest":
            short, longest = self.size[0], max(height, width)
            long = int(short * longest / min(height, width))
            return (long, short) if width <= height else (short, long)
        scale_y, scale_x = self.size[0] / height, self.size[1] / width
        scale = scale_x if abs(1 - scale_x) < abs(1 - scale_y) else scale_y
        first, second = (
            max(self.multiple, self.multiple * round(side * scale / self.multiple))
            for side in (height, width)
        )
        return first, second

    def view(self, batch: Batch) -> Tensor:
        """Return all images, resized and cropped: (B, 3, H, W), uint8, cached.

        Requires one common size: resize `stretch`, or a `crop`.
        """
        if self.resize == "stretch" and self.crop in (None, self.size):
            return batch.view(*self.size, self.mode)
        key = ("processor view", self.size, self.resize, self.crop, self.half_pixel, self.mode)
        return batch.rows(key, self._cropped)

    def pixels(self, batch: Batch) -> Tensor:
        """Return the normalized view of all images: (B, 3, H, W), float32."""
        return self.normalize(self.view(batch))

    def normalize(self, view: Tensor) -> Tensor:
        """Return the normalized pixels of a view: float32, of the same shape."""
        mean, std = channel_tensor(self.mean, view.device), channel_tensor(self.std, view.device)
        return (view.float() * self.factor - mean) / std

    def _cropped(self, batch: Batch) -> Tensor:
        height, width = self.crop or self.size
        parts = [torch.zeros((0, 3, height, width), dtype=torch.uint8, device=batch.device)]
        for image in batch.pixels():
            large = resizing.resize(image, *self.resized_size(*image.shape[-2:]), self.mode)
            top, left = (
                self._offset(side - target)
                for side, target in zip(large.shape[-2:], (height, width), strict=True)
            )
            parts.append(large[..., top : top + height, left : left + width])
        return torch.cat(parts)

    def _offset(self, border: int) -> int:
        return border // 2 if self.half_pixel == "down" else round(border / 2)


def read(folder: Path) -> ProcessorView:
    """Return the view of the image processor in `folder`.

    Raises:
        CheckpointError: The processor is missing, or its preprocessing is not supported.
    """
    if not any((folder / name).is_file() for name in _PROCESSORS):
        raise CheckpointError(
            f"{folder} has no image processor: expected {' or '.join(_PROCESSORS)}."
        )
    try:
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder}: cannot read the image processor: {error}") from error
    size, resize = _resize(processor, folder)
    return ProcessorView(
        size=size,
        resize=resize,
        mode=_mode(processor, folder),
        factor=processor.rescale_factor if processor.do_rescale else 1.0,
        mean=tuple(processor.image_mean) if processor.do_normalize else (0.0, 0.0, 0.0),
        std=tuple(processor.image_std) if processor.do_normalize else (1.0, 1.0, 1.0),
        multiple=getattr(processor, "ensure_multiple_of", None) or 1,
        crop=_crop(processor, size, folder),
    )


@cache
def channel_tensor(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return one value per channel, (3, 1, 1); cached, since each copy synchronizes a GPU."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device).view(-1, 1, 1)


def _resize(processor: Any, folder: Path) -> tuple[tuple[int, int], Resize]:
    sizes = {side: value for side, value in dict(processor.size).items() if value is not None}
    if processor.do_resize and sizes.keys() == {"shortest_edge"}:
        return (sizes["shortest_edge"],) * 2, "shortest"
    if processor.do_resize and sizes.keys() == {"height", "width"}:
        keep_ratio = getattr(processor, "keep_aspect_ratio", False)
        multiple = (getattr(processor, "ensure_multiple_of", None) or 1) > 1
        if keep_ratio or not multiple:
            resize: Resize = "nearest_side" if keep_ratio else "stretch"
            return (sizes["height"], sizes["width"]), resize
    raise CheckpointError(
        f"{folder}: the image processor must resize to a shortest edge or to height and width, "
        f"got do_resize={processor.do_resize} and size={sizes}."
    )


def _mode(processor: Any, folder: Path) -> Mode:
    number = int(processor.resample)
    if number not in _MODES:
        raise CheckpointError(
            f"{folder}: the image processor must resample by 2 (bilinear) or 3 (bicubic), "
            f"got {number}."
        )
    return _MODES[number]


def _crop(processor: Any, size: tuple[int, int], folder: Path) -> tuple[int, int] | None:
    if not processor.do_center_crop:
        return None
    crop = (processor.crop_size["height"], processor.crop_size["width"])
    if crop[0] > size[0] or crop[1] > size[1]:
        raise CheckpointError(
            f"{folder}: the image processor's crop must not exceed its size, "
            f"got crop {crop} of size {size}."
        )
    return crop
