"""Progress callbacks of long-running work."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Callback that receives the progress of long-running work."""

    def __call__(self, done: int, total: int) -> None:
        """Report that `done` of `total` units are finished."""
        ...
