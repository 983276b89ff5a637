"""Files to batches on a GPU, ahead of their use: read, decoded and sent there by threads.

Every device sees what OpenCV decodes. nvJPEG is no quicker here than OpenCV on a GPU's share of the
cores, and it decodes colours differently: by so little that nobody sees it, by so much that of a
detector's boxes one in ten moves.

Sending has a thread and a stream of its own; a batch brings the event to wait for.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch

from cascade.imaging.batches import (
    DECODED_AHEAD,
    Batch,
    Group,
    OnDevice,
    Unreadable,
    read_ahead,
    to_device,
)

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
        with closing(read_ahead(groups, device=device, workers=workers)) as reader:
            for group, batch, unreadable in reader:
                yield Read(group, batch, unreadable)
        return
    with closing(_Ahead(groups, device, workers)) as ahead:
        while (one := ahead.take()) is not None:
            yield one


class _Ahead:
    """A thread that reads groups ahead and puts their pixels on a GPU."""

    def __init__(self, groups: Iterable[Group], device: torch.device, workers: int | None) -> None:
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
            reader = read_ahead(self._groups, device=self._device, workers=self._workers)
            with torch.cuda.device(self._device), closing(reader):
                stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
                with torch.cuda.stream(stream):
                    for group, batch, unreadable in reader:
                        if self._stopped.is_set():
                            return
                        self._put(self._sent(group, batch, unreadable))
            self._put(None)
        except BaseException as error:  # noqa: BLE001 - handed to who takes
            self._put(error)

    def _sent(self, group: Group, batch: Batch, unreadable: list[Unreadable]) -> Read:
        """Return a group whose pixels are on their way to the GPU."""
        sent = OnDevice([to_device(one, self._device) for one in batch.images])
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ready.record()
        return Read(group, Batch(batch.ids, sent, self._device), unreadable, ready)

    def _put(self, one: Read | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                self._done.put(one, timeout=_POLL_S)
            except queue.Full:
                continue
            return
