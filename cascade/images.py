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

from cascade import views
from cascade.errors import ImageError
from cascade.predictions import Detections
from cascade.views import Mode, Placement

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
        found: What earlier tiers found in each image, in canonical classes; empty where none ran.
        focals_px: The camera's focal length of each image, in its own pixels, None where it is
            unknown; empty where nobody knows any.
    """

    ids: tuple[str, ...]
    images: tuple[Image, ...]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    found: tuple[Detections, ...] = ()
    focals_px: tuple[float | None, ...] = ()
    _cache: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each image, in pixels."""
        return [(image.shape[0], image.shape[1]) for image in self.images]

    def part(self, start: int, stop: int) -> Batch:
        """Return the images from `start` to `stop`, with what is known of them."""
        return Batch(
            ids=self.ids[start:stop],
            images=self.images[start:stop],
            device=self.device,
            found=self.found[start:stop],
            focals_px=self.focals_px[start:stop],
        )

    def view(self, height: int, width: int, mode: Mode = "bilinear") -> Tensor:
        """Return all images stretched to one size: (B, 3, height, width), uint8, cached.

        Antialiased; relative coordinates stay what they are.
        """

        def stretch() -> Tensor:
            stretched = [views.resized(one, height, width, mode) for one in self.pixels()]
            nothing = torch.zeros((0, 3, height, width), dtype=torch.uint8, device=self.device)
            return torch.cat([nothing, *stretched])

        return self.shared(("view", height, width, mode), stretch)

    def letterbox(
        self, side: int, *, fill: int = 114, centred: bool = True
    ) -> tuple[Tensor, list[Placement]]:
        """Return all images inside squares, (B, 3, side, side), uint8, and where they lie; cached.

        See `views.letterboxed`.
        """

        def place() -> tuple[Tensor, list[Placement]]:
            placed = [
                views.letterboxed(one, side, fill=fill, centred=centred) for one in self.pixels()
            ]
            nothing = torch.zeros((0, 3, side, side), dtype=torch.uint8, device=self.device)
            return torch.cat([nothing, *(one for one, _ in placed)]), [where for _, where in placed]

        return self.shared(("letterbox", side, fill, centred), place)

    def pixels(self) -> list[Tensor]:
        """Return each image on the device, (1, 3, H, W), uint8; cached."""
        return self.shared(
            "pixels",
            lambda: [
                torch.from_numpy(one).to(self.device).permute(2, 0, 1)[None] for one in self.images
            ],
        )

    def shared(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Return what `compute` gave the first time that `key` was asked for."""
        if key not in self._cache:
            self._cache[key] = compute()
        return self._cache[key]


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
