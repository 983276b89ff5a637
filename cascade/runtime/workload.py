"""When compiled code pays: after so much work in a process, or at once when there is much."""

from __future__ import annotations

COMPILING_PAYS = 100_000  # boxes: the plain code takes a second or two for them


class Workload:
    """Counts the boxes that a process has handled in one way.

    Args:
        enough: So many boxes that loading the compiled code, and compiling it on a machine that
            never did, costs less than the plain code for them.
    """

    def __init__(self, enough: int = COMPILING_PAYS) -> None:
        self._enough = enough
        self._seen = 0

    def should_compile(self, boxes: int) -> bool:
        """Return whether to use compiled code for these boxes, and count them."""
        self._seen += boxes
        return self._seen >= self._enough
