"""Execution of operators: immediately or queued, from the App or from Python.

An immediate run from the App is a stream of progress messages that ends with the result or with
a one-line error. FiftyOne would stop an immediate run without a stream after ten minutes, and
would show a traceback for an error.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cascade.errors import CascadeError
from cascade.runtime.progress import Progress
from curation.app.operators import outputs, progress
from curation.app.operators.progress import StageProgress
from curation.errors import CurationError

if TYPE_CHECKING:
    from fiftyone import DatasetView
    from fiftyone.operators import ExecutionContext, types
    from fiftyone.operators.message import GeneratedMessage

logger = logging.getLogger(__name__)

_STREAM_INTERVAL_S = 0.5


@dataclass(frozen=True)
class Outcome:
    """Result of an operator.

    Attributes:
        summary: The result in words.
        details: The result as plain data, by name.
        view: View to show; None to keep the current one.
        saved_view: Name of a saved view to show instead.
        dataset: Name of another dataset to open.
        wrote: Whether the dataset was changed.
    """

    summary: str
    details: Mapping[str, Any] = field(default_factory=dict)
    view: DatasetView = None
    saved_view: str = ""
    dataset: str = ""
    wrote: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with `view` as the stages from which FiftyOne builds it."""
        view = {} if self.view is None else {"view": self.view._serialize()}
        return {**_plain(self.details), "summary": self.summary, **view}


Run = Callable[["ExecutionContext", StageProgress], Outcome]


def execute(ctx: ExecutionContext, run: Run, *, title: str = "") -> dict[str, Any] | Iterator[Any]:
    """Call `run(ctx, stage_progress)` as requested, and return what FiftyOne expects.

    Returns:
        The result as plain data; for the App, a stream of messages.
    """
    if ctx.delegated:
        outcome = run(ctx, progress.queued_progress(ctx))
        _refresh(ctx, outcome)
        return outcome.to_json()
    if _is_from_app(ctx):
        return _stream(ctx, run, title)
    outcome = run(ctx, lambda verb: None)
    _refresh(ctx, outcome)
    for _ in _show(ctx, outcome):
        pass  # requests to the App travel with the result
    return outcome.to_json()


def _is_from_app(ctx: ExecutionContext) -> bool:
    """Return whether the request is the App's; requests from Python name no operator."""
    return "operator_uri" in ctx.request_params


def _stream(ctx: ExecutionContext, run: Run, title: str) -> Iterator[Any]:
    """Run in a thread and yield its progress, then its result or error.

    The App shows progress in a window above the form. After any progress, the result must be
    shown in that window too: the form behind it is hidden.
    """
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def stage_progress(verb: str) -> Progress:
        return progress.throttled(
            lambda done, total: messages.put((verb, done, total)), interval_s=_STREAM_INTERVAL_S
        )

    def run_in_thread() -> None:
        try:
            outcome = run(ctx, stage_progress)
            _refresh(ctx, outcome)
            messages.put(outcome)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that answers
            messages.put(error)

    threading.Thread(target=run_in_thread, name="operator", daemon=True).start()
    in_window = False
    while not isinstance(message := messages.get(), (Outcome, BaseException)):
        verb, done, total = message
        in_window = True
        yield ctx.ops.set_progress(
            label=f"{verb}: {done} of {total}", progress=min(done / max(total, 1), 1.0)
        )
    if isinstance(message, Outcome):
        yield from _show(ctx, message)
        result = message.to_json()
        yield (
            _show_in_window(ctx, outputs.result_property(title, result), result)
            if in_window
            else _result_message(result)
        )
        return
    line = _one_line(message)
    yield (
        _show_in_window(ctx, outputs.error_property(line), {})
        if in_window
        else _error_message(line)
    )


def _show_in_window(
    ctx: ExecutionContext, content: types.Property, result: Mapping[str, Any]
) -> GeneratedMessage:
    return ctx.ops.show_output(outputs=content.to_json(), results=dict(result))


def _refresh(ctx: ExecutionContext, outcome: Outcome) -> None:
    """Refresh colors and saved views after a change of the dataset."""
    if outcome.wrote and ctx.dataset is not None:
        from curation.presentation import refresh

        refresh.after_stage(ctx.dataset)


def _show(ctx: ExecutionContext, outcome: Outcome) -> Iterator[Any]:
    if outcome.dataset:
        yield ctx.ops.open_dataset(outcome.dataset)
        return
    if outcome.wrote:
        yield ctx.ops.reload_dataset()
    if outcome.saved_view:
        yield ctx.ops.set_view(name=outcome.saved_view)
    elif outcome.view is not None:
        yield ctx.ops.set_view(view=outcome.view)
    yield ctx.ops.notify(outcome.summary, variant="success")


def _result_message(content: dict[str, Any]) -> GeneratedMessage:
    from fiftyone.operators.executor import ExecutionResult
    from fiftyone.operators.message import GeneratedMessage, MessageType

    return GeneratedMessage(MessageType.SUCCESS, cls=ExecutionResult, body=_Body(content))


@dataclass(frozen=True)
class _Body:
    """Body of the message with the result of a stream."""

    content: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return self.content


def _error_message(line: str) -> GeneratedMessage:
    """Return the message that ends a stream with an error."""
    from fiftyone.operators.message import GeneratedMessage, MessageType

    class ErrorMessage(GeneratedMessage):  # type: ignore[misc] # FiftyOne is untyped
        def to_json(self) -> dict[str, Any]:
            return {"type": str(self.type), "cls": None, "body": None, "error": line}

    return ErrorMessage(MessageType.ERROR)


def _one_line(error: BaseException) -> str:
    """Return an error in one line; unexpected errors are logged with their traceback."""
    if isinstance(error, (CurationError, CascadeError)):
        return str(error)
    logger.error("An operator failed", exc_info=error)
    return f"{type(error).__name__}: {error} (see the server's log for the traceback)"


def _plain(value: Any) -> Any:
    """Return details as values that JSON and the database accept."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
