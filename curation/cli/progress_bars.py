"""Progress bars for the terminal: one line a stage, with rate and time left."""

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

_TOLD_EVERY = 10  # percent: how often a bar becomes a line where there is no terminal


class StageBars:
    """Makes one bar for each stage; a context manager, so that the cursor comes back."""

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
    """Draws one stage; where there is no terminal it prints a line every tenth."""

    def __init__(self, console: Console, progress: Progress, stage: str) -> None:
        self._console, self._progress, self._stage = console, progress, stage
        self._task = progress.add_task(stage, total=None, visible=False)
        self._told = -1

    def __call__(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total, visible=True)
        share = 100 * done // max(total, 1) // _TOLD_EVERY
        if not self._console.is_terminal and share > self._told:
            self._told = share
            self._console.print(f"{self._stage:>9}  {done}/{total}", highlight=False)


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("-/s" if speed is None else f"{speed:.1f}/s", style="dim")
