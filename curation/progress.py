"""How long work says how far it is, without knowing who draws it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told how far a long work is."""

    def __call__(self, done: int, total: int) -> None:
        """Take note that `done` of `total` pieces are finished."""
        ...
