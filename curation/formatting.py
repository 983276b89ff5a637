"""Formatting of numbers, percentages, durations and sizes for people.

Used by the App, the report and the terminal.
"""

from __future__ import annotations

import math

UNKNOWN = "-"
_NBSP = "\u00a0"  # keeps an age on one line of a narrow table cell

_AGE_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def number(value: float | None, digits: int = 3, *, undefined: str = UNKNOWN) -> str:
    """Return a number with a fixed number of decimals, or `undefined` for None and NaN."""
    return undefined if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def quantity(n: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun: `1 image`, `2 images`."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def percent(share: float) -> str:
    """Return a share in [0, 1] as a whole percentage, such as `33%`."""
    return UNKNOWN if math.isnan(share) else f"{100 * share:.0f}%"


def ratio(part: float, total: float) -> str:
    """Return a part of a total as a whole percentage."""
    return percent(part / total) if total else UNKNOWN


def percent_interval(share: float, lower: float, upper: float) -> str:
    """Return a share and its interval, such as `31% (22% to 42%)`."""
    if math.isnan(share):
        return UNKNOWN
    return f"{percent(share)} ({percent(lower)} to {percent(upper)})"


def duration(seconds: float) -> str:
    """Return a duration in the unit that suits it: ms, s, min or h."""
    if 0 < seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def time_ago(seconds: float) -> str:
    """Return the age of an event in its largest whole unit, such as `3 minutes ago`."""
    for unit, length in _AGE_UNITS:
        if seconds >= length:
            return f"{quantity(int(seconds // length), unit)} ago".replace(" ", _NBSP)
    return "just now"


def memory(mb: float) -> str:
    """Return an amount of memory in MiB as `13 MB` or `1.1 GB`."""
    return f"{mb / 1024:.1f} GB" if mb >= 1000 else f"{math.ceil(mb)} MB"
