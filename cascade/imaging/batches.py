"""Reading images: decoded once, upright, shared by every member.

Images are RGB, uint8, shape (H, W, 3), with the EXIF orientation applied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cascade.errors import ImageError
from cascade.imaging import resizing
from cascade.imaging.resizing import Mode, Placement
from cascade.predictions import Detections
from cascade.runtime.cpu import cores

Image = NDArray[np.uint8]
DECODED_AHEAD = 3  # batches: enough to hide decoding, little enough to bound memory


def read(path: str | Path) -> Image:
    """Return one image, RGB, upright.

    Raises:
        ImageError: The file is absent, or no image that can be decoded.
    """
    return decoded(content(path), path)


def content(path: str | Path) -> bytes:
    """Return the bytes of an image file.

    Raises:
        ImageError: It is absent, or has none.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}.") from error
    if not data:
        raise ImageError(f"{path} has zero bytes.")
    return data


def decoded(data: bytes, path: str | Path) -> Image:
    """Return the image that a file's bytes encode, RGB, upright.

    Raises:
        ImageError: They encode none; the message names the file.
    """
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:  # for example a header that announces 10^10 pixels
        raise ImageError(f"{path} is no image that can be decoded: {error.err}.") from error
    if pixels is None:
        raise ImageError(f"{path} is no image that can be decoded.")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


class OnDevice(Sequence[Image]):
    """Images that are on the device already; they become arrays only for who asks for one.

    Args:
        tensors: RGB, uint8, each of shape (1, 3, H, W).
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = tuple(tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    @overload
    def __getitem__(self, at: int) -> Image: ...

    @overload
    def __getitem__(self, at: slice) -> OnDevice: ...

    def __getitem__(self, at: int | slice) -> Image | OnDevice:
        if isinstance(at, slice):
            return OnDevice(self.tensors[at])
        return self.tensors[at][0].permute(1, 2, 0).cpu().numpy()


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
    images: Sequence[Image]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    found: tuple[Detections, ...] = ()
    focals_px: tuple[float | None, ...] = ()
    _cache: dict[Hashable, Any] = field(default_factory=dict, repr=False)
    _whole: Batch | None = field(default=None, repr=False)  # that this is a part of
    _rows: slice = field(default_factory=lambda: slice(None), repr=False)  # of it

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each image, in pixels."""
        if isinstance(self.images, OnDevice):
            return [(one.shape[-2], one.shape[-1]) for one in self.images.tensors]
        return [(image.shape[0], image.shape[1]) for image in self.images]

    def part(self, start: int, stop: int) -> Batch:
        """Return the images from `start` to `stop`, with what is known of them.

        Views of a part are rows of the whole's, which is resized once for all members.
        """
        return Batch(
            ids=self.ids[start:stop],
            images=self.images[start:stop],
            device=self.device,
            found=self.found[start:stop],
            focals_px=self.focals_px[start:stop],
            _whole=self,
            _rows=slice(start, stop),
        )

    def padded(self, size: int) -> Batch:
        """Return `size` images: these, and the last of them again, under the name "".

        What is compiled for batches of one size then sees no other.
        """
        more = size - len(self)
        if more <= 0 or not len(self):
            return self
        images: Sequence[Image]
        if isinstance(self.images, OnDevice):
            images = OnDevice((*self.images.tensors, *self.images.tensors[-1:] * more))
        else:
            images = (*self.images, *[self.images[-1]] * more)
        return Batch(
            ids=(*self.ids, *[""] * more),
            images=images,
            device=self.device,
            found=(*self.found, *self.found[-1:] * more),
            focals_px=(*self.focals_px, *self.focals_px[-1:] * more),
        )

    def view(self, height: int, width: int, mode: Mode = "bilinear") -> Tensor:
        """Return all images stretched to one size: (B, 3, height, width), uint8, cached.

        Antialiased; relative coordinates stay what they are.
        """
        return self.rows(
            ("view", height, width, mode),
            lambda whole: resizing.stretched(
                whole.pixels(), height, width, mode, device=whole.device
            ),
        )

    def letterbox(
        self, side: int, *, fill: int = 114, centred: bool = True
    ) -> tuple[Tensor, list[Placement]]:
        """Return all images inside squares, (B, 3, side, side), uint8, and where they lie; cached.

        See `views.letterboxed`.
        """

        def place() -> tuple[Tensor, list[Placement]]:
            placed = [
                resizing.letterboxed(one, side, fill=fill, centred=centred) for one in self.pixels()
            ]
            nothing = torch.zeros((0, 3, side, side), dtype=torch.uint8, device=self.device)
            return torch.cat([nothing, *(one for one, _ in placed)]), [where for _, where in placed]

        if self._whole is not None:
            squares, places = self._whole.letterbox(side, fill=fill, centred=centred)
            return squares[self._rows], places[self._rows]
        return self.shared(("letterbox", side, fill, centred), place)

    def pixels(self) -> list[Tensor]:
        """Return each image on the device, (1, 3, H, W), uint8; cached."""
        if isinstance(self.images, OnDevice):
            return list(self.images.tensors)
        if self._whole is not None:
            return self._whole.pixels()[self._rows]
        return self.shared("pixels", lambda: [to_device(one, self.device) for one in self.images])

    def rows(self, key: Hashable, compute: Callable[[Batch], Tensor]) -> Tensor:
        """Return a tensor of one row an image, computed once for all that were read together.

        Args:
            key: What is computed.
            compute: Of a batch; each row depends on its own image alone.
        """
        if self._whole is not None:
            return self._whole.rows(key, compute)[self._rows]
        return self.shared(key, lambda: compute(self))

    def shared(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Return what `compute` gave the first time that `key` was asked for."""
        if key not in self._cache:
            self._cache[key] = compute()
        return self._cache[key]


def to_device(image: Image, device: torch.device) -> Tensor:
    """Return an image as a tensor on a device, (1, 3, H, W), uint8."""
    return torch.from_numpy(image).to(device).permute(2, 0, 1)[None]


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be read, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Group:
    """Images that are to share a batch.

    Attributes:
        ids: One name per image; none where there is nothing to do yet.
        paths: Their files.
    """

    ids: Sequence[str]
    paths: Sequence[str | Path]


def batches(
    ids: Sequence[str],
    paths: Sequence[str | Path],
    *,
    batch_size: int,
    device: torch.device,
    workers: int | None = None,
) -> Iterator[tuple[Batch, list[Unreadable]]]:
    """Read images ahead of their use, batch by batch, in order.

    An unreadable image leaves its batch and is reported beside it; the others stay.
    """
    groups = (
        Group(ids[i : i + batch_size], paths[i : i + batch_size])
        for i in range(0, len(ids), batch_size)
    )
    reader = read_ahead(groups, device=device, workers=workers)
    try:
        for _, batch, failures in reader:
            yield batch, failures
    finally:
        reader.close()


def read_ahead(
    groups: Iterable[Group], *, device: torch.device, workers: int | None = None
) -> Generator[tuple[Group, Batch, list[Unreadable]]]:
    """Give each group as a batch, in order; the next are being decoded meanwhile.

    Args:
        groups: Asked for one by one, a few before their turn.
        device: Where views are made.
        workers: Threads that decode, which OpenCV does outside of Python; one for each core.
    """
    pending: deque[tuple[Group, list[Future[Image]]]] = deque()
    with ThreadPoolExecutor(max_workers=workers or cores()) as pool:
        for group in groups:
            pending.append((group, [pool.submit(read, path) for path in group.paths]))
            if len(pending) > DECODED_AHEAD:
                yield _collect(*pending.popleft(), device)
        while pending:
            yield _collect(*pending.popleft(), device)


def _collect(
    group: Group, futures: Sequence[Future[Image]], device: torch.device
) -> tuple[Group, Batch, list[Unreadable]]:
    read_ids: list[str] = []
    images: list[Image] = []
    failures: list[Unreadable] = []
    for name, future in zip(group.ids, futures, strict=True):
        try:
            images.append(future.result())
            read_ids.append(name)
        except ImageError as error:
            failures.append(Unreadable(id=name, reason=str(error)))
    return group, Batch(ids=tuple(read_ids), images=tuple(images), device=device), failures
