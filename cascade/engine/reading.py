"""Files to batches on a GPU: JPEG decoded there in whole batches, upright, ahead of their use.

nvJPEG decodes what is a plain JPEG: baseline or progressive, grey or YCbCr, whole to its end.
Everything else (PNG, CMYK, cut files, what nvJPEG refuses) is OpenCV's, on the CPU, so that the
same files fail with the same reasons as there. Without nvJPEG all is.

Decoding has a thread and a stream of its own; a batch brings the event to wait for.
"""

from __future__ import annotations

import io
import logging
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
import PIL.Image
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from cascade.errors import ImageError
from cascade.images import (
    DECODED_AHEAD,
    Batch,
    Group,
    OnDevice,
    Unreadable,
    content,
    cores,
    decoded,
    read_ahead,
    to_device,
)
from cascade.pillow import opened

logger = logging.getLogger(__name__)

_ORIENTATION = 0x0112  # EXIF
_END = b"\xff\xd9"
_POLL_S = 0.1


@dataclass(frozen=True)
class Read:
    """A batch that was read.

    Attributes:
        group: What it was asked as.
        batch: The images that could be read.
        unreadable: The others.
        ready: The GPU's event that says that its pixels are there; None on a CPU.
    """

    group: Group
    batch: Batch
    unreadable: list[Unreadable]
    ready: Any = None


def read(
    groups: Iterable[Group], *, device: torch.device, workers: int | None = None
) -> Generator[Read]:
    """Give each group as a batch, in order, the next ones being read and decoded meanwhile.

    Args:
        groups: Asked for one by one, a few before their turn; on a GPU from another thread.
        device: Where the pixels are to be.
        workers: Threads that read and decode; one for each core.
    """
    if device.type != "cuda":
        reader = read_ahead(groups, device=device, workers=workers)
        try:
            for group, batch, unreadable in reader:
                yield Read(group, batch, unreadable)
        finally:
            reader.close()
        return
    ahead = _Ahead(groups, device, workers or cores())
    try:
        while (one := ahead.take()) is not None:
            yield one
    finally:
        ahead.close()


def orientation_of(data: bytes) -> int | None:
    """Return the EXIF orientation, 1 to 8, of a JPEG that nvJPEG can decode; None for others.

    Args:
        data: A file's bytes.
    """
    if not data.startswith(b"\xff\xd8") or not data.rstrip(b"\0").endswith(_END):
        return None
    try:
        with opened(io.BytesIO(data)) as head:
            if head.format != "JPEG" or head.mode not in ("RGB", "L"):
                return None
            found = head.getexif().get(_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return None
    return found if found in range(1, 9) else 1


def upright(pixels: Tensor, orientation: int) -> Tensor:
    """Return pixels (..., H, W) as the camera was held, by the EXIF orientation, 1 to 8."""
    if orientation in (2, 4, 5, 7):
        pixels = pixels.flip(-1)
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation]  # to the left
    return torch.rot90(pixels, turns, (-2, -1)).contiguous()


def on_gpu(files: Sequence[bytes], device: torch.device) -> list[Tensor | None]:
    """Return each JPEG decoded on the GPU, (1, 3, H, W), upright; None where it cannot be.

    One file that nvJPEG refuses refuses its whole batch: then each is tried alone.
    """
    turns = [orientation_of(one) for one in files]
    fit = [i for i, one in enumerate(turns) if one is not None]
    found: list[Tensor | None] = [None] * len(files)
    for i, pixels in zip(fit, _decoded([files[i] for i in fit], device), strict=True):
        if pixels is not None:
            found[i] = upright(pixels, turns[i] or 1)[None]
    return found


def _decoded(files: Sequence[bytes], device: torch.device) -> list[Tensor | None]:
    if not files:
        return []
    data = [torch.from_numpy(np.frombuffer(one, np.uint8).copy()) for one in files]
    try:
        return list(decode_jpeg(data, mode=ImageReadMode.RGB, device=device))
    except RuntimeError as error:
        if len(files) == 1:
            logger.info("nvJPEG does not decode a file: %s", error)
            return [None]
        return [one for file in files for one in _decoded([file], device)]


class _Ahead:
    """A thread that reads groups ahead and puts their pixels on a GPU."""

    def __init__(self, groups: Iterable[Group], device: torch.device, workers: int) -> None:
        self._groups, self._device, self._workers = groups, device, workers
        self._done: queue.Queue[Read | BaseException | None] = queue.Queue(DECODED_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def take(self) -> Read | None:
        """Return the next batch, None after the last; raise what stopped the thread."""
        one = self._done.get()
        if isinstance(one, BaseException):
            raise one
        return one

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with torch.cuda.device(self._device), ThreadPoolExecutor(self._workers) as pool:
                stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
                with torch.cuda.stream(stream):
                    self._read(pool)
            self._put(None)
        except BaseException as error:  # noqa: BLE001 - handed to who takes
            self._put(error)

    def _read(self, pool: ThreadPoolExecutor) -> None:
        pending: deque[tuple[Group, list[Future[bytes]]]] = deque()
        for group in self._groups:
            if self._stopped.is_set():
                return
            pending.append((group, [pool.submit(content, path) for path in group.paths]))
            if len(pending) > DECODED_AHEAD:
                self._put(self._collected(pool, *pending.popleft()))
        while pending and not self._stopped.is_set():
            self._put(self._collected(pool, *pending.popleft()))

    def _collected(
        self, pool: ThreadPoolExecutor, group: Group, files: Sequence[Future[bytes]]
    ) -> Read:
        """Return a group as a batch whose pixels are on their way to the GPU."""
        failures: dict[int, str] = {}
        data: dict[int, bytes] = {}
        for i, one in enumerate(files):
            try:
                data[i] = one.result()
            except ImageError as error:
                failures[i] = str(error)
        pixels = dict(zip(data, on_gpu(list(data.values()), self._device), strict=True))
        others = {
            i: pool.submit(decoded, data[i], group.paths[i])
            for i, one in pixels.items()
            if one is None
        }
        for i, future in others.items():
            try:
                pixels[i] = to_device(future.result(), self._device)
            except ImageError as error:
                failures[i] = str(error)
        read_now = [(i, one) for i, one in pixels.items() if one is not None]
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ready.record()
        return Read(
            group=group,
            batch=Batch(
                ids=tuple(group.ids[i] for i, _ in read_now),
                images=OnDevice([one for _, one in read_now]),
                device=self._device,
            ),
            unreadable=[Unreadable(group.ids[i], why) for i, why in sorted(failures.items())],
            ready=ready,
        )

    def _put(self, one: Read | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                self._done.put(one, timeout=_POLL_S)
            except queue.Full:
                continue
            return
