"""Overlap of reading, forward passes, decoding and writing.

On a GPU one batch is read while the previous one is computed, the one before it decoded in
threads, and an earlier one written. At most `Pace.in_flight` batches are open, which bounds the
memory and lets the slowest step set the pace. On a CPU, where every step needs the same cores,
the steps run in turn.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from cascade.engine.loader import LoadedBatch, load_batches
from cascade.engine.member_runner import MemberResults, Runner
from cascade.engine.sinks import Sink, Tally
from cascade.imaging.batches import Batch, Group
from cascade.predictions import Failure

_SWITCH_S = 0.0002  # Python's default of 5 ms delays each kernel launch and starves a GPU


@dataclass(frozen=True)
class Pace:
    """Degree of overlap.

    Attributes:
        in_flight: Batches that are launched and not yet decoded.
        decoders: Decoding threads; 0 to decode in turn.
        writes_ahead: Writes that may wait for a slow database; 0 to write in turn.
        pad_to: Size of every batch, the last one included, for compiled models; 0 for no padding.
    """

    in_flight: int = 0
    decoders: int = 0
    writes_ahead: int = 0
    pad_to: int = 0


IN_TURN = Pace()
OVERLAPPED = Pace(in_flight=2, decoders=4, writes_ahead=2)


@dataclass(frozen=True)
class Work:
    """Remaining work, and the callbacks of a run.

    Attributes:
        todo: Remaining ids by member; None for all.
        add_context: Adds the results of earlier tiers to a batch; None if no member needs them.
        on_done: Receives the number of images of each finished group.
        on_stored: Receives the groups that are stored, in order.
    """

    todo: Mapping[str, set[str]] | None = None
    add_context: Callable[[Batch], Batch] | None = None
    on_done: Callable[[int], None] = lambda _: None
    on_stored: Callable[[list[Group]], None] = lambda _: None

    def wants(self, member: str, image_ids: Iterable[str]) -> bool:
        """Return whether a member has any of these images left to do."""
        return self.todo is None or not self.todo[member].isdisjoint(image_ids)


def run(
    runners: Mapping[str, Runner],
    groups: Iterable[Group],
    sink: Sink,
    work: Work,
    *,
    device: torch.device,
    batches_a_write: int,
    pace: Pace,
) -> Tally:
    """Process every group with all members and write the results to `sink`, in order.

    A group without images flushes all results so far.
    """
    tally = Tally()
    reader = load_batches(groups, device=device)
    try:
        with (
            _decoding(pace) as pool,
            _writing(sink, tally, work.on_stored, pace) as write,
            _fast_thread_switching(pace),
            _restored_matmul_precision(device),
            torch.cuda.device(device) if device.type == "cuda" else nullcontext(),
        ):
            buffer = _WriteBuffer(write, work, batches_a_write)
            in_flight: deque[_InFlight] = deque()
            for loaded in reader:
                in_flight.append(_launch(loaded, runners, work, pool, pace))
                while in_flight and (
                    len(in_flight) > pace.in_flight or not in_flight[-1].group.ids
                ):
                    buffer.add(in_flight.popleft())
            while in_flight:
                buffer.add(in_flight.popleft())
            buffer.flush()
    finally:
        reader.close()
    tally.seconds = {name: runner.seconds for name, runner in runners.items()}
    tally.seen = {name: runner.seen for name, runner in runners.items()}
    return tally


@dataclass(frozen=True)
class _InFlight:
    """A launched group: the failures of unreadable images, and each member's future results."""

    group: Group
    failures: dict[str, Failure]
    members: Mapping[str, Future[MemberResults]]


def _launch(
    loaded: LoadedBatch, runners: Mapping[str, Runner], work: Work, pool: Executor, pace: Pace
) -> _InFlight:
    if loaded.ready is not None:
        torch.cuda.current_stream(loaded.batch.device).wait_event(loaded.ready)
    batch = loaded.batch.padded(pace.pad_to)
    if work.add_context and len(batch):
        batch = work.add_context(batch)
    members = {
        name: pool.submit(runner.finish, runner.launch(batch))
        for name, runner in runners.items()
        if work.wants(name, batch.ids)
    }
    failures = {image.id: Failure("ImageError", image.reason) for image in loaded.unreadable}
    if failures:
        members |= {name: _completed({}) for name in runners if name not in members}
    return _InFlight(loaded.group, failures, members)


_Rows = dict[str, dict[str, Any]]
_Write = Callable[[_Rows, list[Group]], None]


class _WriteBuffer:
    """Collects the results of a few batches between two writes."""

    def __init__(self, write: _Write, work: Work, batches_a_write: int) -> None:
        self._write, self._work, self._capacity = write, work, batches_a_write
        self._groups: list[Group] = []
        self._rows: _Rows = {}

    def add(self, batch: _InFlight) -> None:
        """Wait for a batch, and write if the buffer is full."""
        for name, future in batch.members.items():
            for image_id, result in (future.result() | batch.failures).items():
                if self._work.wants(name, (image_id,)):
                    self._rows.setdefault(image_id, {})[name] = result
        self._groups.append(batch.group)
        if len(self._groups) >= self._capacity or not batch.group.ids:
            self.flush()
        self._work.on_done(len(batch.group.ids))

    def flush(self) -> None:
        """Write the collected results."""
        if self._groups:
            self._write(self._rows, self._groups)
        self._groups, self._rows = [], {}


@contextmanager
def _writing(
    sink: Sink, tally: Tally, on_stored: Callable[[list[Group]], None], pace: Pace
) -> Iterator[_Write]:
    """Provide the write function: synchronous, or in a thread that keeps the order."""

    def write(rows: _Rows, groups: list[Group]) -> None:
        if rows:
            sink.write(rows)
            tally.count(rows)
        on_stored(groups)

    if not pace.writes_ahead:
        yield write
        return
    writer = _WriterThread(write, pace.writes_ahead)
    try:
        yield writer.put
        writer.finish()
    finally:
        writer.stop()


class _WriterThread:
    """A thread that writes in order; its error is raised by a later call."""

    def __init__(self, write: _Write, ahead: int) -> None:
        self._write, self._ahead = write, ahead
        self._pool = ThreadPoolExecutor(1, "writer")
        self._pending: deque[Future[None]] = deque()
        self._failed = False

    def put(self, rows: _Rows, groups: list[Group]) -> None:
        """Queue a write, waiting for room."""
        while self._pending and (self._pending[0].done() or len(self._pending) > self._ahead):
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._write_unless_failed, rows, groups))

    def finish(self) -> None:
        """Wait until everything is written."""
        while self._pending:
            self._pending.popleft().result()

    def stop(self) -> None:
        """Complete the current write and discard the others."""
        self._pool.shutdown(cancel_futures=True)

    def _write_unless_failed(self, rows: _Rows, groups: list[Group]) -> None:
        if self._failed:
            return
        try:
            self._write(rows, groups)
        except BaseException:
            self._failed = True
            raise


class _InlineExecutor(Executor):
    """An executor that runs each call before `submit` returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return the result as a completed future."""
        return _completed(fn(*args, **kwargs))


def _completed(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


@contextmanager
def _decoding(pace: Pace) -> Iterator[Executor]:
    pool = ThreadPoolExecutor(pace.decoders) if pace.decoders else _InlineExecutor()
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _fast_thread_switching(pace: Pace) -> Iterator[None]:
    """Return the interpreter quickly to the thread that launches kernels."""
    before = sys.getswitchinterval()
    if pace.decoders:
        sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def _restored_matmul_precision(device: torch.device) -> Iterator[None]:
    """Restore the float32 matmul precision that the members change."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.set_float32_matmul_precision(before[0])
            torch.backends.cudnn.allow_tf32 = before[1]
