"""Break-even point of compiled code: a large input, or many small ones."""

from __future__ import annotations

COMPILING_PAYS = 100_000  # boxes; the plain code takes a second or two for them


class Workload:
    """Counts the boxes that a process has handled.

    Args:
        enough: Number of boxes from which compiling and loading the compiled code is cheaper
            than the plain code.
    """

    def __init__(self, enough: int = COMPILING_PAYS) -> None:
        self._enough = enough
        self._seen = 0

    def should_compile(self, boxes: int) -> bool:
        """Count these boxes, and return whether to use compiled code for them."""
        self._seen += boxes
        return self._seen >= self._enough
