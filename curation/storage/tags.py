"""Sample tags: the names of rounds, and the arms of a batch."""

from __future__ import annotations

import re
from typing import Literal, get_args

Arm = Literal["hard", "coverage", "slice", "random"]  # the reason for which a sample is in a batch
ARMS: tuple[Arm, ...] = get_args(Arm)
ARM_PREFIX = "arm:"

_ROUND = re.compile(r"round-(\d{2,})")


def round_name(number: int) -> str:
    """Return the name of a round, such as `round-01`: a sample tag and a folder."""
    return f"round-{number:02d}"


def parse_round(name: str) -> int | None:
    """Return the number in the name of a round, None for any other text."""
    match = _ROUND.fullmatch(name)
    return int(match[1]) if match else None


def arm_tag(arm: str) -> str:
    """Return the sample tag of an arm, such as `arm:hard`."""
    return f"{ARM_PREFIX}{arm}"


def parse_arm(tag: str) -> str | None:
    """Return the arm in a sample tag, None for any other tag."""
    return tag.removeprefix(ARM_PREFIX) if tag.startswith(ARM_PREFIX) else None
