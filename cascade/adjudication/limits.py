"""Limits of one case, and the budget that remains of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from cascade.errors import CascadeError

Limit = Literal["depth", "turns", "calls", "characters", "wall_time"]


class BoundReachedError(CascadeError, RuntimeError):
    """A bound was reached, and the ensemble's weighted mean stands."""

    def __init__(self, limit: Limit) -> None:
        self.limit: Limit = limit
        super().__init__(f"The bound on {limit.replace('_', ' ')} was reached.")


@dataclass(frozen=True)
class Bounds:
    """Limits of one case including its recursions; `turns` applies to each question.

    Attributes:
        depth: Maximal recursion depth; 0 forbids recursion.
        turns: Maximal number of planner replies per question.
        calls: Maximal number of calls of planner and vision model together.
        characters: Maximal number of characters sent to and received from the planner. Every
            turn sends the whole conversation again, so this grows with its square.
        wall_s: Seconds from the first question to the result.
        epsilon: A verdict is clipped to [epsilon, 1 - epsilon].
    """

    depth: int = 2
    turns: int = 8
    calls: int = 32
    characters: int = 200_000
    wall_s: float = 120.0
    epsilon: float = 0.02

    def __post_init__(self) -> None:
        """Reject bounds that allow nothing."""
        for name, value in asdict(self).items():
            if name != "depth" and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}.")
        if self.depth < 0:
            raise ValueError(f"depth must be 0 or above, got {self.depth}.")
        if self.epsilon >= 0.5:
            raise ValueError(f"epsilon must be below 0.5, got {self.epsilon}.")


@dataclass
class Budget:
    """Remaining calls and characters."""

    calls: int
    characters: int

    def spend(self, *, calls: int = 0, characters: int = 0) -> None:
        """Subtract calls and characters.

        Raises:
            BoundReachedError: The budget is too small; it stays unchanged.
        """
        if calls > self.calls:
            raise BoundReachedError("calls")
        if characters > self.characters:
            raise BoundReachedError("characters")
        self.calls -= calls
        self.characters -= characters

    def shares(self, count: int) -> list[Budget]:
        """Split off `count` equal shares, and keep one more.

        Concurrent recursions get a share each, which makes the result independent of their speed.
        """
        calls, characters = self.calls // (count + 1), self.characters // (count + 1)
        self.spend(calls=calls * count, characters=characters * count)
        return [Budget(calls, characters) for _ in range(count)]

    def take_back(self, share: Budget) -> None:
        """Add the remainder of a share."""
        self.calls += share.calls
        self.characters += share.characters
