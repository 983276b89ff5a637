"""How a case ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cascade.adjudication.limits import Limit
from cascade.adjudication.trace import Trace

Why = Literal["verdict", "server"] | Limit


@dataclass(frozen=True)
class Ruling:
    """What is decided about a question.

    Attributes:
        p_yes: Probability of yes. Of a verdict: the model's own number, kept away from 0 and 1
            and NOT calibrated. Else the ensemble's weighted mean as it was, None where it has none.
        reason: The model's words; in a fallback, what went wrong.
        why: `verdict`, or what made it fall back: a bound, or a server that gave no answer.
        trace: How it came to that.
    """

    p_yes: float | None
    reason: str
    why: Why
    trace: Trace = field(default_factory=Trace)

    @property
    def fell_back(self) -> bool:
        """Whether the ensemble's weighted mean stands, for want of a verdict."""
        return self.why != "verdict"
