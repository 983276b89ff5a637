"""Image reading, and batches that decode and resize each image once for all members.

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
from cascade.imaging.resizing import Mode
from cascade.predictions import Detections
from cascade.runtime.cpu import cores

Image = NDArray[np.uint8]
DECODED_AHEAD = 3  # batches; enough to hide decoding, few enough to bound memory


def read(path: str | Path) -> Image:
    """Return one image, RGB, upright.

    Raises:
        ImageError: The file cannot be read or decoded.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"Cannot read image `{path}`: {error.strerror}.") from error
    if not data:
        raise ImageError(f"Cannot decode image `{path}`: the file is empty.")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:  # for example a header that announces 10^10 pixels
        raise ImageError(f"Cannot decode image `{path}`: {error.err}.") from error
    if pixels is None:
        raise ImageError(f"Cannot decode image `{path}`.")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


class ImagesOnDevice(Sequence[Image]):
    """Images on the device; indexing copies one back as an array.

    Args:
        tensors: RGB, uint8, each of shape (1, 3, H, W).
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = tuple(tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    @overload
    def __getitem__(self, index: int) -> Image: ...

    @overload
    def __getitem__(self, index: slice) -> ImagesOnDevice: ...

    def __getitem__(self, index: int | slice) -> Image | ImagesOnDevice:
        if isinstance(index, slice):
            return ImagesOnDevice(self.tensors[index])
        return self.tensors[index][0].permute(1, 2, 0).cpu().numpy()


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of one batch, and the resized views that members share.

    Attributes:
        ids: One name per image, in order.
        images: RGB, uint8, each of shape (H, W, 3); sizes may differ.
        device: Device of the views.
        detections: Boxes of earlier tiers by image, in canonical classes; empty if none ran.
        focals_px: Focal length of each image's camera in pixels of the image, None if unknown;
            empty if all are unknown.
    """

    ids: tuple[str, ...]
    images: Sequence[Image]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    detections: tuple[Detections, ...] = ()
    focals_px: tuple[float | None, ...] = ()
    _cache: dict[Hashable, Any] = field(default_factory=dict, repr=False)
    _parent: Batch | None = field(default=None, repr=False)  # of which this is a part
    _rows: slice = field(default_factory=lambda: slice(None), repr=False)  # in the parent

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each image, in pixels."""
        if isinstance(self.images, ImagesOnDevice):
            return [(pixels.shape[-2], pixels.shape[-1]) for pixels in self.images.tensors]
        return [(image.shape[0], image.shape[1]) for image in self.images]

    def part(self, start: int, stop: int) -> Batch:
        """Return the images from `start` to `stop`, with their context.

        Views of a part are rows of the parent's views, which are computed once for all members.
        """
        return Batch(
            ids=self.ids[start:stop],
            images=self.images[start:stop],
            device=self.device,
            detections=self.detections[start:stop],
            focals_px=self.focals_px[start:stop],
            _parent=self,
            _rows=slice(start, stop),
        )

    def padded(self, size: int) -> Batch:
        """Return the batch padded to `size` with copies of its last image, under the id "".

        A compiled model then sees only batches of one size.
        """
        padding = size - len(self)
        if padding <= 0 or not len(self):
            return self
        images: Sequence[Image]
        if isinstance(self.images, ImagesOnDevice):
            images = ImagesOnDevice((*self.images.tensors, *self.images.tensors[-1:] * padding))
        else:
            images = (*self.images, *[self.images[-1]] * padding)
        return Batch(
            ids=(*self.ids, *[""] * padding),
            images=images,
            device=self.device,
            detections=(*self.detections, *self.detections[-1:] * padding),
            focals_px=(*self.focals_px, *self.focals_px[-1:] * padding),
        )

    def view(self, height: int, width: int, mode: Mode = "bilinear") -> Tensor:
        """Return all images stretched to one size: (B, 3, height, width), uint8, cached.

        Antialiased; relative coordinates are unchanged.
        """
        return self.rows(
            ("view", height, width, mode),
            lambda batch: resizing.resize_batch(
                batch.pixels(), height, width, mode, device=batch.device
            ),
        )

    def pixels(self) -> list[Tensor]:
        """Return each image on the device, (1, 3, H, W), uint8; cached."""
        if isinstance(self.images, ImagesOnDevice):
            return list(self.images.tensors)
        if self._parent is not None:
            return self._parent.pixels()[self._rows]
        return self.shared("pixels", lambda: [to_device(i, self.device) for i in self.images])

    def rows(self, key: Hashable, compute: Callable[[Batch], Tensor]) -> Tensor:
        """Return a tensor with one row per image, computed once for the whole parent batch.

        Args:
            key: Cache key.
            compute: Computes the tensor of a batch; each row must depend on its image alone.
        """
        if self._parent is not None:
            return self._parent.rows(key, compute)[self._rows]
        return self.shared(key, lambda: compute(self))

    def shared(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Return the result of `compute`, cached under `key`."""
        if key not in self._cache:
            self._cache[key] = compute()
        return self._cache[key]


def to_device(image: Image, device: torch.device) -> Tensor:
    """Return an image as a tensor on a device, (1, 3, H, W), uint8."""
    return torch.from_numpy(image).to(device).permute(2, 0, 1)[None]


@dataclass(frozen=True)
class UnreadableImage:
    """An image that cannot be read, and the reason."""

    id: str
    reason: str


@dataclass(frozen=True)
class Group:
    """Images that share a batch.

    Attributes:
        ids: One name per image; empty when there is nothing to do yet.
        paths: The image files.
    """

    ids: Sequence[str]
    paths: Sequence[str | Path]


def read_batches(
    ids: Sequence[str],
    paths: Sequence[str | Path],
    *,
    batch_size: int,
    device: torch.device,
    workers: int | None = None,
) -> Iterator[tuple[Batch, list[UnreadableImage]]]:
    """Yield the images batch by batch, in order, reading ahead.

    Unreadable images are removed from their batch and returned with it.
    """
    groups = (
        Group(ids[i : i + batch_size], paths[i : i + batch_size])
        for i in range(0, len(ids), batch_size)
    )
    reader = read_ahead(groups, device=device, workers=workers)
    try:
        for _, batch, unreadable in reader:
            yield batch, unreadable
    finally:
        reader.close()


def read_ahead(
    groups: Iterable[Group], *, device: torch.device, workers: int | None = None
) -> Generator[tuple[Group, Batch, list[UnreadableImage]]]:
    """Yield each group as a batch, in order, while the next ones are decoded.

    Args:
        groups: Consumed lazily, a few ahead.
        device: Device of the views.
        workers: Number of decoding threads (OpenCV releases the GIL); None for one per core.
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
) -> tuple[Group, Batch, list[UnreadableImage]]:
    ids: list[str] = []
    images: list[Image] = []
    unreadable: list[UnreadableImage] = []
    for image_id, future in zip(group.ids, futures, strict=True):
        try:
            images.append(future.result())
            ids.append(image_id)
        except ImageError as error:
            unreadable.append(UnreadableImage(id=image_id, reason=str(error)))
    return group, Batch(ids=tuple(ids), images=tuple(images), device=device), unreadable
