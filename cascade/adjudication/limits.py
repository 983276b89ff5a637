"""How much one case may cost, and what is left of that."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from cascade.errors import CascadeError

Limit = Literal["depth", "turns", "calls", "characters", "wall_time"]


class BoundReachedError(CascadeError, RuntimeError):
    """A bound was reached, so the ensemble's weighted mean stands."""

    def __init__(self, limit: Limit) -> None:
        self.limit: Limit = limit
        super().__init__(f"The bound on {limit.replace('_', ' ')} was reached.")


@dataclass(frozen=True)
class Bounds:
    """What one case may cost, all that it recurses into included; turns are of each question.

    Attributes:
        depth: How deep the model may recurse; 0 for not at all.
        turns: Replies that the root may give to one question.
        calls: Questions to root and eye together.
        characters: Sent to and received from the root. A conversation is sent anew with every
            turn, so this grows with its square.
        wall_s: Seconds from the first question to the ruling.
        epsilon: A verdict is kept within [epsilon, 1 - epsilon].
    """

    depth: int = 2
    turns: int = 8
    calls: int = 32
    characters: int = 200_000
    wall_s: float = 120.0
    epsilon: float = 0.02

    def __post_init__(self) -> None:
        """Refuse bounds within which nothing can happen."""
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name != "depth" and not value > 0:
                raise ValueError(f"{one.name} must be above 0, got {value}.")
        if self.depth < 0:
            raise ValueError(f"depth must be 0 or above, got {self.depth}.")
        if self.epsilon >= 0.5:
            raise ValueError(f"epsilon must be below 0.5, got {self.epsilon}.")


class Budget:
    """What is left of calls and characters."""

    def __init__(self, calls: int, characters: int) -> None:
        self.calls, self.characters = calls, characters

    def spend(self, *, calls: int = 0, characters: int = 0) -> None:
        """Take this much.

        Raises:
            BoundReachedError: There is less; nothing is taken.
        """
        if calls > self.calls:
            raise BoundReachedError("calls")
        if characters > self.characters:
            raise BoundReachedError("characters")
        self.calls -= calls
        self.characters -= characters

    def shares(self, count: int) -> list[Budget]:
        """Return `count` equal shares, and keep one.

        Recursions that run side by side so have each their own: what one can afford does not
        depend on which is faster.
        """
        calls, characters = self.calls // (count + 1), self.characters // (count + 1)
        self.spend(calls=calls * count, characters=characters * count)
        return [Budget(calls, characters) for _ in range(count)]

    def take_back(self, share: Budget) -> None:
        """Add what is left of a share."""
        self.calls += share.calls
        self.characters += share.characters
