"""Formatting of numbers in report cells."""

from __future__ import annotations

from collections.abc import Iterable

from curation import formatting
from curation.report.figures import ARM_COLORS, Estimate
from curation.report.page import Cell

UNDEFINED = "not defined"

_ARMS = tuple(ARM_COLORS)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with a fixed number of decimals, or `UNDEFINED`."""
    return formatting.number(value, digits, undefined=UNDEFINED)


def estimate(result: Estimate, digits: int = 3) -> str:
    """Return a value with its interval: `0.812 [0.750, 0.861]`."""
    if result.value is None or result.lower is None or result.upper is None:
        return number(result.value, digits)
    return f"{result.value:.{digits}f} [{result.lower:.{digits}f}, {result.upper:.{digits}f}]"


def change(result: Estimate, *, higher_is_better: bool = True, digits: int = 3) -> Cell:
    """Return a signed change with its interval; the tone is neutral inside the noise."""
    if result.value is None:
        return Cell(UNDEFINED, "muted")
    text = f"{result.value:+.{digits}f}"
    if result.lower is None or result.upper is None:
        return Cell(text)
    if result.value == result.lower == result.upper == 0:
        return Cell("no change", "muted")
    text += f" [{result.lower:+.{digits}f}, {result.upper:+.{digits}f}]"
    if result.lower <= 0 <= result.upper:
        return Cell(f"{text} inside the noise", "muted")
    better = (result.value > 0) == higher_is_better
    return Cell(f"{text} {'better' if better else 'worse'}", "good" if better else "bad")


def ordered_arms(arms: Iterable[str]) -> list[str]:
    """Return arms in display order; unknown arms follow, sorted by name."""
    return sorted(arms, key=lambda arm: (_ARMS.index(arm) if arm in _ARMS else len(_ARMS), arm))
