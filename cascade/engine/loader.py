"""Batches on a GPU, read, decoded and transferred by threads ahead of their use.

Every device gets the pixels that OpenCV decodes. With a GPU's share of the CPU cores, nvJPEG is
not faster than OpenCV, and its colors differ slightly: too little to see, enough to move one in
ten of a detector's boxes.

The transfer has a thread and a CUDA stream; each batch carries the event to wait for.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass

import torch

from cascade.imaging.batches import (
    DECODED_AHEAD,
    Batch,
    Group,
    ImagesOnDevice,
    UnreadableImage,
    read_ahead,
    to_device,
)

_POLL_S = 0.1


@dataclass(frozen=True)
class LoadedBatch:
    """A group of images after reading.

    Attributes:
        group: The requested images.
        batch: The readable images.
        unreadable: The other images.
        ready: CUDA event of the completed transfer; None on a CPU.
    """

    group: Group
    batch: Batch
    unreadable: list[UnreadableImage]
    ready: torch.cuda.Event | None = None


def load_batches(
    groups: Iterable[Group], *, device: torch.device, workers: int | None = None
) -> Generator[LoadedBatch]:
    """Yield each group as a batch, in order, while the next ones are read and decoded.

    Args:
        groups: Consumed lazily, a few ahead; on a GPU from another thread.
        device: Destination of the pixels.
        workers: Number of reading and decoding threads; None for one per core.
    """
    if device.type != "cuda":
        with closing(read_ahead(groups, device=device, workers=workers)) as reader:
            for group, batch, unreadable in reader:
                yield LoadedBatch(group, batch, unreadable)
        return
    with closing(_Prefetcher(groups, device, workers)) as prefetcher:
        while (loaded := prefetcher.take()) is not None:
            yield loaded


class _Prefetcher:
    """A thread that reads groups ahead and transfers their pixels to a GPU."""

    def __init__(self, groups: Iterable[Group], device: torch.device, workers: int | None) -> None:
        self._groups, self._device, self._workers = groups, device, workers
        self._loaded: queue.Queue[LoadedBatch | BaseException | None] = queue.Queue(DECODED_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def take(self) -> LoadedBatch | None:
        """Return the next batch, None after the last; raise the thread's error, if any."""
        item = self._loaded.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            reader = read_ahead(self._groups, device=self._device, workers=self._workers)
            with torch.cuda.device(self._device), closing(reader):
                stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
                with torch.cuda.stream(stream):
                    for group, batch, unreadable in reader:
                        if self._stopped.is_set():
                            return
                        self._put(self._transfer(group, batch, unreadable))
            self._put(None)
        except BaseException as error:  # noqa: BLE001 - raised by `take`
            self._put(error)

    def _transfer(
        self, group: Group, batch: Batch, unreadable: list[UnreadableImage]
    ) -> LoadedBatch:
        """Start the transfer of a group's pixels to the GPU."""
        images = ImagesOnDevice([to_device(image, self._device) for image in batch.images])
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ready.record()
        return LoadedBatch(group, Batch(batch.ids, images, self._device), unreadable, ready)

    def _put(self, item: LoadedBatch | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                self._loaded.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return
