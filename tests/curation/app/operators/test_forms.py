import types as python_types

import pytest

from curation.app.operators.forms import Form


@pytest.fixture
def make(database):
    """Return what makes a form in which something was typed."""
    return lambda **typed: Form(python_types.SimpleNamespace(params=typed))


def refused(form):
    return {name: one.error_message for name, one in form.inputs.properties.items() if one.invalid}


def test_what_was_not_typed_is_the_default(make):
    form = make(name="", n=None)
    assert form.text("name", "Name", default="site") == "site"
    assert form.whole("n", "N", default=3) == 3
    assert form.number("x", "X", default=0.5, above=0) == 0.5
    assert form.tick("t", "T", default=True) is True
    assert form.pick("p", "P", ["a", "b"], default="b") == "b"
    assert form.several("s", "S", ["a", "b"], default=["a"]) == ["a"]
    assert refused(form) == {}


@pytest.mark.parametrize(
    ("typed", "ask", "message"),
    [
        pytest.param(
            {"n": 0}, lambda f: f.whole("n", "Budget", default=3, least=1, most=9),
            "Budget must be a whole number of at least 1 and at most 9, got 0.", id="too few",
        ),
        pytest.param(
            {"n": True}, lambda f: f.whole("n", "Budget", default=3), "got True", id="no number"
        ),
        pytest.param(
            {"x": 0}, lambda f: f.number("x", "Frames", default=1, above=0), "above 0, got 0",
            id="not above",
        ),
        pytest.param(
            {"p": "yolp"}, lambda f: f.pick("p", "Field", ["yolo", "detr"]),
            "no field 'yolp'. Did you mean 'yolo'", id="unknown",
        ),
        pytest.param(
            {"s": []}, lambda f: f.several("s", "Members", ["a"], default=["a"]),
            "Pick at least 1", id="none of several",
        ),
        pytest.param(
            {"why": "  "}, lambda f: f.text("why", "Why", needed="Say why."), "Say why.",
            id="empty text",
        ),
        pytest.param({}, lambda f: f.confirm("Remove them"), "Tick 'Remove them'", id="no yes"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_input(make, typed, ask, message):
    form = make(**typed)
    ask(form)
    (said,) = refused(form).values()
    assert message in said


def test_what_no_input_can_mend_is_an_error_of_the_form(make):
    form = make()
    form.refuse("The dataset is empty.")
    shown = form.inputs.properties["problem_1"]
    assert shown.invalid
    assert shown.view.description == "The dataset is empty."
