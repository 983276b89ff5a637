import types as python_types

import pytest

from curation.app.operators import execution
from curation.app.operators.execution import Outcome
from curation.errors import StageError


class Ops:
    """Records the requests to the App, in order."""

    def __init__(self):
        self.requests = []

    def __getattr__(self, name):
        def request(*args, **kwargs):
            self.requests.append((name, kwargs))
            return (name, kwargs)

        return request


def context(**request):
    return python_types.SimpleNamespace(
        request_params=request, delegated=False, ops=Ops(), dataset=None
    )


def test_python_call_returns_result(database):
    ctx = context()
    result = execution.execute(ctx, lambda *_: Outcome("Done.", {"n": 3, "who": ("a", "b")}))
    assert result == {"n": 3, "who": ["a", "b"], "summary": "Done."}
    assert [name for name, _ in ctx.ops.requests] == ["reload_dataset", "notify"]


def test_app_run_streams_progress_then_result(database):
    def run(ctx, stage_progress):
        report = stage_progress("walk")
        for step in (1, 2):
            report(step, 2)
        return Outcome("Done.", {"n": 3}, saved_view="hardest")

    messages = list(execution.execute(context(operator_uri="x"), run))
    assert messages[0] == ("set_progress", {"label": "walk: 1 of 2", "progress": 0.5})
    last = ["reload_dataset", "set_view", "notify", "show_output"]
    assert [name for name, _ in messages][-4:] == last, "in the window that showed the progress"
    assert messages[-1][1]["results"] == {"n": 3, "summary": "Done."}
    assert set(messages[-1][1]["outputs"]["type"]["properties"]) == {"n", "summary"}


def test_run_without_progress_shows_result_in_form(database):
    messages = list(
        execution.execute(context(operator_uri="x"), lambda *_: Outcome("Done.", {"n": 3}))
    )
    assert messages[-1].to_json()["cls"] == "ExecutionResult"
    assert messages[-1].to_json()["body"] == {"n": 3, "summary": "Done."}


def test_error_after_progress_is_shown_in_window(database):
    def run(ctx, stage_progress):
        stage_progress("walk")(1, 2)
        raise StageError("Score first.")

    report, (name, shown) = execution.execute(context(operator_uri="x"), run)
    assert report[0] == "set_progress"
    assert name == "show_output"
    assert "Score first." in str(shown["outputs"])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(StageError("Score first."), "Score first.", id="expected error"),
        pytest.param(ZeroDivisionError("by zero"), "ZeroDivisionError: by zero", id="a bug"),
    ],
)
def test_app_shows_error_as_one_line(database, error, line):
    def run(ctx, stage_progress):
        raise error

    (message,) = execution.execute(context(operator_uri="x"), run)
    content = message.to_json()
    assert line in content["error"]
    assert "Traceback" not in content["error"]


def test_other_dataset_is_opened(database):
    ctx = context()
    execution.execute(ctx, lambda *_: Outcome("Made.", dataset="site", wrote=False))
    assert ctx.ops.requests == [("open_dataset", {})]
