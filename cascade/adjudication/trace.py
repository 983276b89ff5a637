"""What happened in a case, step by step: JSON, and no pixel in it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(_Frozen):
    """One thing that was done.

    Attributes:
        depth: Of the question that it belongs to; 0 is the case itself.
        turn: Of that question, from 1.
        operation: Its name; `reply` for what the root said.
        arguments: What it was called with.
        result: What came of it, shortened.
        milliseconds: How long it took.
        tokens: How many were generated; None where nobody reports it.
    """

    depth: int
    turn: int
    operation: str
    arguments: dict[str, JsonValue]
    result: str
    milliseconds: float
    tokens: int | None = None


class Trace(_Frozen):
    """All steps, in the order in which they were asked for; a recursion follows its own steps.

    Attributes:
        steps: The steps.
    """

    steps: tuple[Step, ...] = ()

    def to_json(self) -> str:
        """Return the JSON text that `from_json` turns into an equal trace."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Trace:
        """Return the trace of a JSON text."""
        return cls.model_validate_json(text)


class Log:
    """Steps as they come in, in places that were reserved in order."""

    def __init__(self) -> None:
        self._entries: list[Step | Log] = []

    def add(self, step: Step) -> None:
        """Note a step."""
        self._entries.append(step)

    def reserve(self) -> Log:
        """Return a log whose steps, whenever they come, stand here."""
        place = Log()
        self._entries.append(place)
        return place

    def steps(self) -> tuple[Step, ...]:
        """Return all that came in so far."""
        found: list[Step] = []
        for one in self._entries:
            found += one.steps() if isinstance(one, Log) else (one,)
        return tuple(found)
