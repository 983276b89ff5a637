"""Reading, forward passes, unpacking and writing, each beside the others.

On a GPU a batch is read while the one before is computed, the one before that unpacked in
threads, and an earlier one written; no more than `Pace.in_flight` are under way, so that memory
is bounded and whoever is slowest sets the pace. On a CPU, where every step wants the same cores,
they follow each other.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from cascade.engine import loader
from cascade.engine.loader import Read
from cascade.engine.member_runner import Runner
from cascade.engine.sinks import Sink, Tally
from cascade.imaging.batches import Batch, Group
from cascade.predictions import Failure

_SWITCH_S = 0.0002  # Python's 5 ms, waited for at each launch of a kernel, starve a GPU


@dataclass(frozen=True)
class Pace:
    """How much happens at once.

    Attributes:
        in_flight: Batches that were launched and are not unpacked yet.
        unpackers: Threads that unpack; 0 to do it in between.
        writes_ahead: Writes that may wait for a slow database; 0 to write in between.
        pad_to: Images of every batch, the last one too, for what is compiled; 0 for as they come.
    """

    in_flight: int = 0
    unpackers: int = 0
    writes_ahead: int = 0
    pad_to: int = 0


IN_TURN = Pace()
OVERLAPPED = Pace(in_flight=2, unpackers=4, writes_ahead=2)


@dataclass(frozen=True)
class Work:
    """What is to be done, and whom to tell.

    Attributes:
        todo: The ids that each member has yet to do; None for all.
        known: Adds to a batch what is known of its images; None where nothing is needed.
        done: Told how many images of a group are finished, after each.
        written: Told the groups that are stored, in order.
    """

    todo: Mapping[str, set[str]] | None = None
    known: Callable[[Batch], Batch] | None = None
    done: Callable[[int], None] = lambda _: None
    written: Callable[[list[Group]], None] = lambda _: None


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
    """Take every group through all members and into `sink`, in order; return what was done.

    A group without images has what came before it written at once.
    """
    tally = Tally()
    reader = loader.read(groups, device=device)
    try:
        with (
            _unpacking(pace) as pool,
            _writing(sink, tally, work.written, pace) as write,
            _quick_switching(pace),
            _multiplying_as_before(device),
            torch.cuda.device(device) if device.type == "cuda" else nullcontext(),
        ):
            gathered = _Gathered(write, work, batches_a_write)
            under_way: deque[_UnderWay] = deque()
            for read in reader:
                under_way.append(_launch(read, runners, work, pool, pace))
                while under_way and (
                    len(under_way) > pace.in_flight or not under_way[-1].group.ids
                ):
                    gathered.take(under_way.popleft())
            while under_way:
                gathered.take(under_way.popleft())
            gathered.flush()
    finally:
        reader.close()
    tally.seconds = {name: one.seconds for name, one in runners.items()}
    tally.seen = {name: one.seen for name, one in runners.items()}
    return tally


@dataclass(frozen=True)
class _UnderWay:
    group: Group
    failed: dict[str, Any]
    members: Mapping[str, Future[dict[str, Any]]]


def _launch(
    read: Read, runners: Mapping[str, Runner], work: Work, pool: Executor, pace: Pace
) -> _UnderWay:
    if read.ready is not None:
        torch.cuda.current_stream(read.batch.device).wait_event(read.ready)
    batch = read.batch.padded(pace.pad_to)
    if work.known and len(batch):
        batch = work.known(batch)
    members = {}
    for name, runner in runners.items():
        wanting = None if work.todo is None else work.todo[name]
        if wanting is None or not wanting.isdisjoint(batch.ids):
            members[name] = pool.submit(runner.finish, runner.launch(batch))
    failed: dict[str, Any] = {one.id: Failure("ImageError", one.reason) for one in read.unreadable}
    if failed:
        for name in set(runners) - set(members):
            members[name] = _nothing()
    return _UnderWay(read.group, failed, members)


class _Gathered:
    """Results on their way to the sink, a few batches together."""

    def __init__(self, write: _Write, work: Work, batches_a_write: int) -> None:
        self._write, self._work, self._most = write, work, batches_a_write
        self._groups: list[Group] = []
        self._rows: dict[str, dict[str, Any]] = {}

    def take(self, one: _UnderWay) -> None:
        """Wait for a batch, and pass on what has gathered where that is enough."""
        for name, future in one.members.items():
            found = future.result() | one.failed
            wanting = None if self._work.todo is None else self._work.todo[name]
            for image, result in found.items():
                if wanting is None or image in wanting:
                    self._rows.setdefault(image, {})[name] = result
        self._groups.append(one.group)
        if len(self._groups) >= self._most or not one.group.ids:
            self.flush()
        self._work.done(len(one.group.ids))

    def flush(self) -> None:
        """Pass on what has gathered."""
        if self._groups:
            self._write(self._rows, self._groups)
        self._groups, self._rows = [], {}


_Write = Callable[[dict[str, dict[str, Any]], list[Group]], None]


@contextmanager
def _writing(
    sink: Sink, tally: Tally, written: Callable[[list[Group]], None], pace: Pace
) -> Iterator[_Write]:
    """Give what writes: at once, or in a thread, in order, once the block goes on."""

    def write(rows: dict[str, dict[str, Any]], groups: list[Group]) -> None:
        if rows:
            sink.write(rows)
            tally.count(rows)
        written(groups)

    if not pace.writes_ahead:
        yield write
        return
    aside = _Aside(write, pace.writes_ahead)
    try:
        yield aside.put
        aside.finish()
    finally:
        aside.stop()


class _Aside:
    """A thread that writes what it is given, in order; its error is raised where more is given."""

    def __init__(self, write: _Write, ahead: int) -> None:
        self._write = write
        self._waiting: queue.Queue[tuple[Any, ...] | None] = queue.Queue(ahead)
        self._error: BaseException | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def put(self, rows: dict[str, dict[str, Any]], groups: list[Group]) -> None:
        """Wait until there is room, then leave it to the thread."""
        self._raise()
        self._waiting.put((rows, groups))

    def finish(self) -> None:
        """Wait until all is written."""
        self._waiting.put(None)
        self._thread.join()
        self._raise()

    def stop(self) -> None:
        """Write nothing more; what is being written is."""
        self._stopped = True
        while self._thread.is_alive():
            try:
                self._waiting.put_nowait(None)
            except queue.Full:
                self._thread.join(timeout=0.05)
            else:
                break
        self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (given := self._waiting.get()) is not None:
            if self._stopped or self._error is not None:
                continue
            try:
                self._write(*given)
            except BaseException as error:  # noqa: BLE001 - raised where more is given
                self._error = error


class _AtOnce(Executor):
    """Does what it is given before it returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return the result, as a future that is done."""
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def _nothing() -> Future[dict[str, Any]]:
    done: Future[dict[str, Any]] = Future()
    done.set_result({})
    return done


@contextmanager
def _unpacking(pace: Pace) -> Iterator[Executor]:
    pool = ThreadPoolExecutor(pace.unpackers) if pace.unpackers else _AtOnce()
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _quick_switching(pace: Pace) -> Iterator[None]:
    """Let the thread that launches kernels have Python back soon."""
    before = sys.getswitchinterval()
    if pace.unpackers:
        sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def _multiplying_as_before(device: torch.device) -> Iterator[None]:
    """Let float32 be multiplied afterwards as before the members asked for their own way."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.set_float32_matmul_precision(before[0])
            torch.backends.cudnn.allow_tf32 = before[1]
