"""How numbers are written on the page."""

from __future__ import annotations

from collections.abc import Iterable

from curation import formatting
from curation.report.figures import ARM_COLOURS, Estimate
from curation.report.page import Cell

UNDEFINED = "not defined"

_ARMS = tuple(ARM_COLOURS)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with a fixed count of decimals, or `UNDEFINED`."""
    return formatting.number(value, digits, undefined=UNDEFINED)


def estimate(one: Estimate, digits: int = 3) -> str:
    """Return a value with its interval: `0.812 [0.750, 0.861]`."""
    if one.value is None or one.lower is None or one.upper is None:
        return number(one.value, digits)
    return f"{one.value:.{digits}f} [{one.lower:.{digits}f}, {one.upper:.{digits}f}]"


def change(one: Estimate, *, higher_is_better: bool = True, digits: int = 3) -> Cell:
    """Return a change with its sign and interval; it has a tone only outside the noise."""
    if one.value is None:
        return Cell(UNDEFINED, "muted")
    text = f"{one.value:+.{digits}f}"
    if one.lower is None or one.upper is None:
        return Cell(text)
    if one.value == one.lower == one.upper == 0:
        return Cell("no change", "muted")
    text += f" [{one.lower:+.{digits}f}, {one.upper:+.{digits}f}]"
    if one.lower <= 0 <= one.upper:
        return Cell(f"{text} inside the noise", "muted")
    better = (one.value > 0) == higher_is_better
    return Cell(f"{text} {'better' if better else 'worse'}", "good" if better else "bad")


def in_order(arms: Iterable[str]) -> list[str]:
    """Return arms as they are always shown: the known ones first, random last of them."""
    return sorted(arms, key=lambda arm: (_ARMS.index(arm) if arm in _ARMS else len(_ARMS), arm))
