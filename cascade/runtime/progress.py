"""Progress callbacks of long-running work."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Callback that receives the progress of long-running work."""

    def __call__(self, done: int, total: int) -> None:
        """Report that `done` of `total` units are finished."""
        ...


def subtask(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Return the callback of a part of the work that starts at `before` of `total` units."""
    return progress and (lambda done, _: progress(before + done, total))
