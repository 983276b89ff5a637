import types as python_types

import pytest

from curation.app.operators import execution
from curation.app.operators.execution import Outcome
from curation.errors import StageError


class Ops:
    """Notes what the App is asked to do, in order."""

    def __init__(self):
        self.asked = []

    def __getattr__(self, name):
        def ask(*args, **kwargs):
            self.asked.append((name, kwargs))
            return (name, kwargs)

        return ask


def context(**request):
    return python_types.SimpleNamespace(
        request_params=request, delegated=False, ops=Ops(), dataset=None
    )


def test_from_python_the_result_is_returned(database):
    ctx = context()
    done = execution.run(ctx, lambda ctx, bars: Outcome("Done.", {"n": 3, "who": ("a", "b")}))
    assert done == {"n": 3, "who": ["a", "b"], "summary": "Done."}
    assert [name for name, _ in ctx.ops.asked] == ["reload_dataset", "notify"]


def test_from_the_app_it_tells_how_far_it_is_and_then_the_result(database):
    def work(ctx, bars):
        bar = bars("walk")
        for step in (1, 2):
            bar(step, 2)
        return Outcome("Done.", {"n": 3}, saved_view="hardest")

    said = list(execution.run(context(operator_uri="x"), work))
    assert said[0] == ("set_progress", {"label": "walk: 1 of 2", "progress": 0.5})
    last = ["reload_dataset", "set_view", "notify", "show_output"]
    assert [name for name, _ in said][-4:] == last, "over the window in which it told"
    assert said[-1][1]["results"] == {"n": 3, "summary": "Done."}
    assert set(said[-1][1]["outputs"]["type"]["properties"]) == {"n", "summary"}


def test_what_told_nothing_shows_its_result_in_its_form(database):
    said = list(
        execution.run(context(operator_uri="x"), lambda ctx, bars: Outcome("Done.", {"n": 3}))
    )
    assert said[-1].to_json()["cls"] == "ExecutionResult"
    assert said[-1].to_json()["body"] == {"n": 3, "summary": "Done."}


def test_an_error_amid_the_work_is_shown_over_the_window_in_which_it_told(database):
    def work(ctx, bars):
        bars("walk")(1, 2)
        raise StageError("Score first.")

    told, (name, shown) = execution.run(context(operator_uri="x"), work)
    assert told[0] == "set_progress"
    assert name == "show_output"
    assert "Score first." in str(shown["outputs"])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(StageError("Score first."), "Score first.", id="one that you can mend"),
        pytest.param(ZeroDivisionError("by zero"), "ZeroDivisionError: by zero", id="a bug"),
    ],
)
def test_in_the_app_an_error_is_one_line(database, error, line):
    def work(ctx, bars):
        raise error

    (told,) = execution.run(context(operator_uri="x"), work)
    content = told.to_json()
    assert line in content["error"]
    assert "Traceback" not in content["error"]


def test_another_dataset_is_opened(database):
    ctx = context()
    execution.run(ctx, lambda ctx, bars: Outcome("Made.", dataset="site", wrote=False))
    assert ctx.ops.asked == [("open_dataset", {})]
