"""The outcome of a case."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cascade.adjudication.limits import Limit
from cascade.adjudication.trace import Trace

Outcome = Literal["verdict", "server"] | Limit


@dataclass(frozen=True)
class Result:
    """The decision about a question.

    Attributes:
        p_yes: Probability of yes. For a verdict, the model's own number, kept away from 0 and 1
            and NOT calibrated; otherwise the ensemble's unchanged weighted mean, None if the
            ensemble has none.
        reason: The model's explanation; in a fallback, the error.
        outcome: `verdict`, or the cause of the fallback: a bound, or `server` for a server that
            did not answer.
        trace: The steps that led to the decision.
    """

    p_yes: float | None
    reason: str
    outcome: Outcome
    trace: Trace = field(default_factory=Trace)

    @property
    def fell_back(self) -> bool:
        """Whether the ensemble's weighted mean stands because there was no verdict."""
        return self.outcome != "verdict"
