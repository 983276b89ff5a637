"""Reading images: decoded once, upright, shared by every member.

Images are RGB, uint8, shape (H, W, 3), with the EXIF orientation applied.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cascade.errors import ImageError

Image = NDArray[np.uint8]
DECODED_AHEAD = 3  # batches: enough to hide decoding, little enough to bound memory


def read(path: str | Path) -> Image:
    """Return one image, RGB, upright.

    Raises:
        ImageError: The file is absent, or no image that can be decoded.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}.") from error
    if not data:
        raise ImageError(f"{path} has zero bytes.")
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:  # for example a header that announces 10^10 pixels
        raise ImageError(f"{path} is no image that can be decoded: {error.err}.") from error
    if decoded is None:
        raise ImageError(f"{path} is no image that can be decoded.")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of one batch, and the views that members share.

    Attributes:
        ids: One name per image, in order.
        images: RGB, uint8, each of shape (H, W, 3); sizes may differ.
        device: Where views are made.
    """

    ids: tuple[str, ...]
    images: tuple[Image, ...]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _cache: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each image, in pixels."""
        return [(image.shape[0], image.shape[1]) for image in self.images]

    def view(self, height: int, width: int) -> Tensor:
        """Return all images stretched to one size: (B, 3, height, width), uint8, cached.

        Antialiased bilinear; relative coordinates stay what they are.
        """
        return self.shared(("view", height, width), lambda: self._stretch(height, width))

    def shared(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Return what `compute` gave the first time that `key` was asked for."""
        if key not in self._cache:
            self._cache[key] = compute()
        return self._cache[key]

    def _stretch(self, height: int, width: int) -> Tensor:
        resized = []
        for image in self.images:
            pixels = torch.from_numpy(image).to(self.device).permute(2, 0, 1)[None]
            if pixels.shape[-2:] != (height, width):
                pixels = _antialiased(pixels, height, width)
            resized.append(pixels)
        return torch.cat(resized) if resized else torch.zeros((0, 3, height, width)).byte()


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be read, and why."""

    id: str
    reason: str


def batches(
    ids: Sequence[str],
    paths: Sequence[str | Path],
    *,
    batch_size: int,
    device: torch.device,
    workers: int = 2,
) -> Iterator[tuple[Batch, list[Unreadable]]]:
    """Read images ahead of their use, batch by batch, in order.

    An unreadable image leaves its batch and is reported beside it; the others stay.
    """
    groups = [slice(i, i + batch_size) for i in range(0, len(ids), batch_size)]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        pending: list[tuple[slice, list[Future[Image]]]] = []
        for group in groups:
            pending.append((group, [pool.submit(read, path) for path in paths[group]]))
            if len(pending) > DECODED_AHEAD:
                yield _collect(ids, *pending.pop(0), device)
        for group, futures in pending:
            yield _collect(ids, group, futures, device)


def _antialiased(pixels: Tensor, height: int, width: int) -> Tensor:
    """Stretch (1, 3, H, W) uint8; the CPU has a fast uint8 kernel, CUDA wants floats."""
    size = (height, width)
    if pixels.device.type == "cpu":
        return functional.interpolate(pixels, size, mode="bilinear", antialias=True)
    floats = functional.interpolate(pixels.float(), size, mode="bilinear", antialias=True)
    return floats.round_().clamp_(0, 255).to(torch.uint8)


def _collect(
    ids: Sequence[str], group: slice, futures: Sequence[Future[Image]], device: torch.device
) -> tuple[Batch, list[Unreadable]]:
    read_ids: list[str] = []
    images: list[Image] = []
    failures: list[Unreadable] = []
    for name, future in zip(ids[group], futures, strict=True):
        try:
            images.append(future.result())
            read_ids.append(name)
        except ImageError as error:
            failures.append(Unreadable(id=name, reason=str(error)))
    return Batch(ids=tuple(read_ids), images=tuple(images), device=device), failures
