"""Numbers, shares and ages as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isnan

from curation.presentation.cache import Kept

_UNITS = (("day", 86_400.0), ("hour", 3_600.0), ("minute", 60.0), ("second", 1.0))
UNKNOWN = "-"
_ = "\u00a0"  # a space at which no line breaks


def age(kept: Kept, *, now: datetime | None = None) -> str:
    """Return how old figures are, and whether samples have changed since."""
    seconds = ((now or datetime.now(UTC)) - kept.at).total_seconds()
    when = f"Counted {ago(seconds)} (in {kept.seconds:.1f} s)"
    return f"{when}; **samples have changed since**." if kept.stale else f"{when}; up to date."


def ago(seconds: float) -> str:
    """Return a time that has passed, such as `3 minutes ago`."""
    for unit, length in _UNITS:
        number = int(seconds / length)
        if number >= 1:
            return f"{number}{_}{unit}{'' if number == 1 else 's'}{_}ago"
    return "just now"


def share(part: float, whole: float) -> str:
    """Return a part of a whole in percent."""
    return UNKNOWN if not whole else f"{100 * part / whole:.0f}{_}%"


def interval(value: float, lower: float, upper: float) -> str:
    """Return a share and its interval in percent, such as `31 % (22 to 42)`."""
    if isnan(value):
        return UNKNOWN
    return f"{100 * value:.0f}{_}% ({100 * lower:.0f}{_}to{_}{100 * upper:.0f})"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number, or a dash where there is none."""
    return UNKNOWN if value is None or isnan(value) else f"{value:,.{digits}f}"


def counted(n: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 image`, `2 images`."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 1:
        return f"{1000 * seconds:.0f}{_}ms"
    if seconds < 120:
        return f"{seconds:.0f}{_}s"
    return f"{seconds / 60:.0f}{_}min" if seconds < 7200 else f"{seconds / 3600:.1f}{_}h"
