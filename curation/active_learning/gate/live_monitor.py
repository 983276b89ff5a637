"""The guard: is the live metric of the champion below the floor, check after check?

Checks come as JSON lines, one object a line, oldest first:

    {"at": "2026-11-23T06:00:00+00:00", "version": "3", "value": 0.971, "n": 240}

Only checks of the version in service count: those of the one before it say nothing about it.
And only those since it was put into service: after a rollback the counting begins anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from curation.errors import EvidenceError

_KEYS = ("at", "version", "value", "n")


@dataclass(frozen=True)
class LiveCheck:
    """The metric of the champion on live samples, once.

    Attributes:
        at: When, ISO 8601; UTC where it names no zone.
        version: Which version it is of.
        value: The metric; higher is better.
        n: Samples that it rests on.
    """

    at: str
    version: str
    value: float
    n: int

    @property
    def when(self) -> datetime:
        """The time, with its zone.

        Raises:
            ValueError: It is not written as ISO 8601 says.
        """
        return _moment(self.at)


@dataclass(frozen=True)
class RollbackPolicy:
    """When to roll back.

    Attributes:
        floor: The least that the metric may be.
        checks: How many in a row must be below it.
        least: Samples that a check must rest on, to count.
    """

    floor: float
    checks: int = 3
    least: int = 50

    def __post_init__(self) -> None:
        """Refuse a watch that would roll back for nothing."""
        if self.checks < 1 or self.least < 1 or not math.isfinite(self.floor):
            raise EvidenceError(
                "A watch needs a floor that is a number, and at least one check of one sample, "
                f"got {self}."
            )


@dataclass(frozen=True)
class Decision:
    """What the guard makes of the checks.

    Attributes:
        roll_back: Whether the champion is to be withdrawn.
        reason: Why, or why not, in numbers.
    """

    roll_back: bool
    reason: str


def decide(
    checks: Sequence[LiveCheck], *, champion: str, watch: RollbackPolicy, since: str | None = None
) -> Decision:
    """Return whether to roll back: the last checks of the champion are all below the floor.

    Args:
        checks: Oldest first.
        champion: The version in service.
        watch: When to roll back.
        since: When it was put there, ISO 8601: earlier checks are of another time in service.
    """
    own = [one for one in checks if one.version == champion and one.n >= watch.least]
    if since is not None:
        own = [one for one in own if one.when >= _moment(since)]
    last = own[-watch.checks :]
    if not last:
        return Decision(
            False, f"No check of version {champion} with {watch.least} samples or more so far."
        )
    shown = ", ".join(f"{one.value:.4f}" for one in last)
    if len(last) < watch.checks:
        return Decision(
            False, f"Version {champion}: {shown}; {len(last)} of {watch.checks} checks so far."
        )
    if all(one.value < watch.floor for one in last):
        return Decision(
            True,
            f"The live metric of version {champion} was below {watch.floor:g} in "
            f"{watch.checks} checks in a row: {shown}.",
        )
    return Decision(False, f"Version {champion}: {shown}, floor {watch.floor:g}.")


def read_checks(path: Path) -> list[LiveCheck]:
    """Return the checks of a file, oldest first; none where it does not exist yet.

    A last line that is still being written, without its line break, is left for the next time.

    Raises:
        EvidenceError: A line is no check; the message says which.
    """
    if not path.is_file():
        return []
    whole = path.read_text().rpartition("\n")[0]
    return [
        _check(line, f"{path}:{number}")
        for number, line in enumerate(whole.splitlines(), start=1)
        if line.strip()
    ]


def append_check(path: Path, check: LiveCheck) -> None:
    """Add a check to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(asdict(check)) + "\n")


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _check(line: str, where: str) -> LiveCheck:
    try:
        row: dict[str, Any] = json.loads(line)
        value = float(row["value"])
        found = LiveCheck(str(row["at"]), str(row["version"]), value, int(row["n"]))
        _moment(found.at)
    except (ValueError, KeyError, TypeError) as error:
        raise EvidenceError(
            f"{where} is no check. Expected a JSON object with {', '.join(_KEYS)}, the first in "
            f"ISO 8601, got {line!r}."
        ) from error
    if not math.isfinite(value):
        raise EvidenceError(f"{where}: the value must be a number, got {line!r}.")
    return found
