"""Rollback decision from live checks of the champion.

Checks are stored as JSON lines, oldest first:

    {"at": "2026-11-23T06:00:00+00:00", "version": "3", "value": 0.971, "n": 240}

Only checks of the version in service count, and only those since it was put into service.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from curation.errors import EvidenceError


@dataclass(frozen=True)
class LiveCheck:
    """One measurement of the champion on live samples.

    Attributes:
        at: Time of the check, ISO 8601; UTC without a time zone.
        version: Version of the ensemble.
        value: Value of the metric; higher is better.
        n: Number of samples.
    """

    at: str
    version: str
    value: float
    n: int

    @property
    def time(self) -> datetime:
        """The time with its time zone.

        Raises:
            ValueError: The time is not in ISO 8601.
        """
        return _parse_time(self.at)


@dataclass(frozen=True)
class RollbackPolicy:
    """Condition of a rollback.

    Attributes:
        floor: Lowest acceptable value of the metric.
        checks: Number of consecutive checks below the floor.
        min_samples: Smallest number of samples of a check that counts.
    """

    floor: float
    checks: int = 3
    min_samples: int = 50

    def __post_init__(self) -> None:
        """Refuse a policy that rolls back without evidence."""
        if self.checks < 1 or self.min_samples < 1 or not math.isfinite(self.floor):
            raise EvidenceError(
                "A rollback policy needs a finite floor, and at least one check of one sample, "
                f"got {self}."
            )


@dataclass(frozen=True)
class Decision:
    """Decision of the guard.

    Attributes:
        roll_back: Whether to withdraw the champion.
        reason: Reason in numbers.
    """

    roll_back: bool
    reason: str


def decide(
    checks: Sequence[LiveCheck], *, champion: str, policy: RollbackPolicy, since: str | None = None
) -> Decision:
    """Decide to roll back if the last checks of the champion are all below the floor.

    Args:
        checks: Checks, oldest first.
        champion: Version in service.
        policy: Condition of a rollback.
        since: Time when it was put into service, ISO 8601; earlier checks do not count.
    """
    counted = [
        check for check in checks if check.version == champion and check.n >= policy.min_samples
    ]
    if since is not None:
        counted = [check for check in counted if check.time >= _parse_time(since)]
    last = [check.value for check in counted[-policy.checks :]]
    if not last:
        return Decision(
            False,
            f"No check of version {champion} with {policy.min_samples} samples or more so far.",
        )
    values = ", ".join(f"{value:.4f}" for value in last)
    if len(last) < policy.checks:
        return Decision(
            False, f"Version {champion}: {values}; {len(last)} of {policy.checks} checks so far."
        )
    if all(value < policy.floor for value in last):
        return Decision(
            True,
            f"The live metric of version {champion} was below {policy.floor:g} in "
            f"{policy.checks} checks in a row: {values}.",
        )
    return Decision(False, f"Version {champion}: {values}, floor {policy.floor:g}.")


def read_checks(path: Path) -> list[LiveCheck]:
    """Return the checks in a file, oldest first; a missing file has none.

    An incomplete last line, without a line break, is ignored.

    Raises:
        EvidenceError: A line is not a check; the message has its number.
    """
    if not path.is_file():
        return []
    complete = path.read_text().rpartition("\n")[0]
    return [
        _parse_check(line, f"{path}:{number}")
        for number, line in enumerate(complete.splitlines(), start=1)
        if line.strip()
    ]


def append_check(path: Path, check: LiveCheck) -> None:
    """Append a check to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(asdict(check)) + "\n")


def _parse_time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _parse_check(line: str, position: str) -> LiveCheck:
    try:
        row: dict[str, Any] = json.loads(line)
        value = float(row["value"])
        check = LiveCheck(str(row["at"]), str(row["version"]), value, int(row["n"]))
        _parse_time(check.at)
    except (ValueError, KeyError, TypeError) as error:
        keys = ", ".join(field.name for field in fields(LiveCheck))
        raise EvidenceError(
            f"{position}: cannot read a check. Expected a JSON object with {keys}, the first in "
            f"ISO 8601, got {line!r}."
        ) from error
    if not math.isfinite(value):
        raise EvidenceError(f"{position}: the value must be a number, got {line!r}.")
    return check
