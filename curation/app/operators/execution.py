"""Running an operator: at once or queued, from the App or from Python; and showing what came of it.

From the App, a run at once is a stream: it tells how far it is, and ends with its result or with
one line that says what went wrong. FiftyOne would cut off a run at once that is no stream after
ten minutes, and show a traceback where one fails.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cascade.errors import CascadeError
from curation.app.operators import outputs, progress
from curation.app.operators.progress import Bars
from curation.errors import CurationError

if TYPE_CHECKING:
    from fiftyone import DatasetView

logger = logging.getLogger(__name__)

_TOLD_EVERY_S = 0.5


@dataclass(frozen=True)
class Outcome:
    """What an operator did.

    Attributes:
        sentence: In words.
        facts: The same as plain data, by name.
        view: What was found, to be shown; None to leave the view as it is.
        saved_view: The name of a saved view to be shown instead.
        dataset: The name of another dataset to be opened.
        wrote: Whether the dataset is another now.
    """

    sentence: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    view: DatasetView = None
    saved_view: str = ""
    dataset: str = ""
    wrote: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data; `view` as the stages from which FiftyOne builds it."""
        shown = {} if self.view is None else {"view": self.view._serialize()}
        return {**_plain(self.facts), "summary": self.sentence, **shown}


Work = Callable[[Any, Bars], Outcome]


def run(ctx: Any, work: Work, *, title: str = "") -> dict[str, Any] | Iterator[Any]:
    """Run `work(ctx, bars)` as it was asked for, and return what FiftyOne expects.

    Returns:
        The result as plain data; from the App, the messages to it, one by one.
    """
    if ctx.delegated:
        outcome = work(ctx, progress.of_queued(ctx))
        _arrange(ctx, outcome)
        return outcome.to_json()
    if _is_from_app(ctx):
        return _stream(ctx, work, title)
    outcome = work(ctx, lambda verb: None)
    _arrange(ctx, outcome)
    for _ in _show(ctx, outcome):
        pass  # who called gets them with the result
    return outcome.to_json()


def _is_from_app(ctx: Any) -> bool:
    """Return whether the App's server asks; the request of a script names no operator."""
    return "operator_uri" in ctx.request_params


def _stream(ctx: Any, work: Work, title: str) -> Iterator[Any]:
    """Do the work in a thread; give what it tells, then its result or its error.

    What was told stands in a window of its own. There the result has to come, too: the form that
    was confirmed lies behind it.
    """
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def bars(verb: str) -> Any:
        return progress.throttled(
            lambda done, total: told.put((verb, done, total)), every_s=_TOLD_EVERY_S
        )

    def do() -> None:
        try:
            outcome = work(ctx, bars)
            _arrange(ctx, outcome)
            told.put(outcome)
        except BaseException as error:  # noqa: BLE001 - handed over to the thread that answers
            told.put(error)

    threading.Thread(target=do, name="operator", daemon=True).start()
    in_window = False
    while not isinstance(said := told.get(), (Outcome, BaseException)):
        verb, done, total = said
        in_window = True
        yield ctx.ops.set_progress(
            label=f"{verb}: {done} of {total}", progress=min(done / max(total, 1), 1.0)
        )
    if isinstance(said, Outcome):
        yield from _show(ctx, said)
        result = said.to_json()
        yield (
            _in_window(ctx, outputs.of_result(title, result), result)
            if in_window
            else _result(result)
        )
        return
    line = _line(said)
    yield _in_window(ctx, outputs.of_error(line), {}) if in_window else _trouble(line)


def _in_window(ctx: Any, shown: Any, result: Mapping[str, Any]) -> Any:
    return ctx.ops.show_output(outputs=shown.to_json(), results=dict(result))


def _arrange(ctx: Any, outcome: Outcome) -> None:
    """Bring colours and saved views up to date with what was written."""
    if outcome.wrote and ctx.dataset is not None:
        from curation.presentation import refresh

        refresh.after_stage(ctx.dataset)


def _show(ctx: Any, outcome: Outcome) -> Iterator[Any]:
    if outcome.dataset:
        yield ctx.ops.open_dataset(outcome.dataset)
        return
    if outcome.wrote:
        yield ctx.ops.reload_dataset()
    if outcome.saved_view:
        yield ctx.ops.set_view(name=outcome.saved_view)
    elif outcome.view is not None:
        yield ctx.ops.set_view(view=outcome.view)
    yield ctx.ops.notify(outcome.sentence, variant="success")


def _result(content: dict[str, Any]) -> Any:
    from fiftyone.operators.executor import ExecutionResult
    from fiftyone.operators.message import GeneratedMessage, MessageType

    return GeneratedMessage(MessageType.SUCCESS, cls=ExecutionResult, body=_Body(content))


@dataclass(frozen=True)
class _Body:
    """What the App takes for the result of a stream."""

    content: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return self.content


def _trouble(line: str) -> Any:
    """Return the message with which a stream fails."""
    from fiftyone.operators.message import GeneratedMessage, MessageType

    class Trouble(GeneratedMessage):  # type: ignore[misc] # FiftyOne has no types
        def to_json(self) -> dict[str, Any]:
            return {"type": str(self.type), "cls": None, "body": None, "error": line}

    return Trouble(MessageType.ERROR)


def _line(error: BaseException) -> str:
    """Return what went wrong in one line, for whoever can mend it."""
    if isinstance(error, (CurationError, CascadeError)):
        return str(error)
    logger.error("An operator failed", exc_info=error)
    return f"{type(error).__name__}: {error} (the server's log has the whole story)"


def _plain(value: Any) -> Any:
    """Return facts as the database and JSON take them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
