"""What a checkpoint's own image processor makes of an image, as a view that members share.

Sizes, interpolation and normalisation are read from the checkpoint, never written down here.
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
_MODES: dict[int, Mode] = {2: "bilinear", 3: "bicubic"}  # by Pillow's number
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class ProcessorView:
    """How an image is resized, cropped and normalised.

    Attributes:
        size: Height and width that the image is resized to; equal where only one side is given.
        resize: `stretch` to exactly that size; to the `shortest` side, proportions kept; or by
            the `nearest_side`, the one that changes the image less, proportions kept.
        multiple: Sides are rounded to multiples of it, for `nearest_side`.
        crop: Height and width of the middle that is cut out afterwards; None for all of it.
        half_pixel: Where the middle of an odd border lies: `down` (transformers) or to the
            `even` pixel (torchvision).
        mode: The interpolation, antialiased.
        factor: What pixels in 0..255 are multiplied by, before normalisation.
        mean: Of red, green and blue, subtracted.
        std: Likewise, divided by.
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
        """Return height and width of an image after resizing, before the crop."""
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
        """Return all images, resized and cropped to one size: (B, 3, H, W), uint8, cached.

        Only where every image gets the same size: `stretch`, or with a `crop`.
        """
        if self.resize == "stretch" and self.crop in (None, self.size):
            return batch.view(*self.size, self.mode)
        key = ("processor view", self.size, self.resize, self.crop, self.half_pixel, self.mode)
        return batch.rows(key, self._cropped)

    def normalised(self, view: Tensor) -> Tensor:
        """Return pixels as the network wants them: float32, of the same shape."""
        mean, std = _channels(self.mean, view.device), _channels(self.std, view.device)
        return (view.float() * self.factor - mean) / std

    def _cropped(self, batch: Batch) -> Tensor:
        height, width = self.crop or self.size
        parts = [torch.zeros((0, 3, height, width), dtype=torch.uint8, device=batch.device)]
        for one in batch.pixels():
            whole = resizing.resized(one, *self.resized_size(*one.shape[-2:]), self.mode)
            top, left = (
                self._middle(side - wanted)
                for side, wanted in zip(whole.shape[-2:], (height, width), strict=True)
            )
            parts.append(whole[..., top : top + height, left : left + width])
        return torch.cat(parts)

    def _middle(self, border: int) -> int:
        return border // 2 if self.half_pixel == "down" else round(border / 2)


def read(folder: Path) -> ProcessorView:
    """Return what the image processor in `folder` does.

    Raises:
        CheckpointError: There is none, or it does something that is not known here.
    """
    if not any((folder / name).is_file() for name in _PROCESSORS):
        raise CheckpointError(
            f"{folder} has no image processor: expected {' or '.join(_PROCESSORS)}."
        )
    try:
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder}: the image processor cannot be read: {error}") from error
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
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return one value a channel, (3, 1, 1); to copy it to a GPU anew would wait for the GPU."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device).view(-1, 1, 1)


def _resize(processor: Any, folder: Path) -> tuple[tuple[int, int], Resize]:
    wanted = {side: value for side, value in dict(processor.size).items() if value is not None}
    if processor.do_resize and wanted.keys() == {"shortest_edge"}:
        return (wanted["shortest_edge"],) * 2, "shortest"
    if processor.do_resize and wanted.keys() == {"height", "width"}:
        keeps = getattr(processor, "keep_aspect_ratio", False)
        multiple = (getattr(processor, "ensure_multiple_of", None) or 1) > 1
        by_side: Resize = "nearest_side" if keeps else "stretch"
        if keeps or not multiple:
            return (wanted["height"], wanted["width"]), by_side
    raise CheckpointError(
        f"{folder}: the image processor must resize to a shortest edge or to height and width, "
        f"got do_resize={processor.do_resize} and size={wanted}."
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
            f"{folder}: the image processor must cut out less than it resizes to, "
            f"got crop {crop} of size {size}."
        )
    return crop
