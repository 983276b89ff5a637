"""The steps of a case, as JSON without pixels."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(_Frozen):
    """One step.

    Attributes:
        depth: Recursion depth of the step's question; 0 for the case itself.
        turn: Turn of that question, from 1.
        operation: Name of the operation; `reply` for a reply of the planner.
        arguments: Arguments of the operation.
        result: Result, shortened.
        milliseconds: Duration.
        tokens: Number of generated tokens; None if not reported.
    """

    depth: int
    turn: int
    operation: str
    arguments: dict[str, JsonValue]
    result: str
    milliseconds: float
    tokens: int | None = None


class Trace(_Frozen):
    """All steps in request order; a recursion follows its own steps.

    Attributes:
        steps: The steps.
    """

    steps: tuple[Step, ...] = ()


class Log:
    """Steps as they complete, in positions that are reserved in order."""

    def __init__(self) -> None:
        self._entries: list[Step | Log] = []

    def add(self, step: Step) -> None:
        """Append a step."""
        self._entries.append(step)

    def reserve(self) -> Log:
        """Append and return a nested log, which keeps this position for its later steps."""
        nested = Log()
        self._entries.append(nested)
        return nested

    def steps(self) -> tuple[Step, ...]:
        """Return all steps so far."""
        steps: list[Step] = []
        for entry in self._entries:
            steps += entry.steps() if isinstance(entry, Log) else (entry,)
        return tuple(steps)
