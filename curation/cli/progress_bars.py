"""Progress bars for the terminal: one line for each stage, with rate and time left."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_PRINT_EVERY_PERCENT = 10  # without a terminal, progress is printed as lines


class StageBars:
    """Factory of progress bars, one for each stage; on exit it restores the cursor."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("[bold]{task.description:>9}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> StageBars:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, stage: str) -> _Bar:
        """Return the progress callback of a stage."""
        return _Bar(self._console, self._progress, stage)


class _Bar:
    """Progress bar of one stage; without a terminal, it prints a line every 10 %."""

    def __init__(self, console: Console, progress: Progress, stage: str) -> None:
        self._console, self._progress, self._stage = console, progress, stage
        self._task = progress.add_task(stage, total=None, visible=False)
        self._last_share = -1

    def __call__(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total, visible=True)
        share = 100 * done // max(total, 1) // _PRINT_EVERY_PERCENT
        if not self._console.is_terminal and share > self._last_share:
            self._last_share = share
            self._console.print(f"{self._stage:>9}  {done}/{total}", highlight=False)


class _Rate(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("-/s" if speed is None else f"{speed:.1f}/s", style="dim")
