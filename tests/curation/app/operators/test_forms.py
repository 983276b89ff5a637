import types as python_types

import pytest

from curation.app.operators.forms import Form


@pytest.fixture
def make(database):
    """Return a function that makes a form with entered values."""
    return lambda **params: Form(python_types.SimpleNamespace(params=params))


def errors_of(form):
    properties = form.inputs.properties.items()
    return {name: prop.error_message for name, prop in properties if prop.invalid}


def test_empty_inputs_have_defaults(make):
    form = make(name="", n=None)
    assert form.text("name", "Name", default="site") == "site"
    assert form.integer("n", "N", default=3) == 3
    assert form.number("x", "X", default=0.5, above=0) == 0.5
    assert form.checkbox("t", "T", default=True) is True
    assert form.select("p", "P", ["a", "b"], default="b") == "b"
    assert form.multiselect("s", "S", ["a", "b"], default=["a"]) == ["a"]
    assert errors_of(form) == {}


@pytest.mark.parametrize(
    ("params", "add_input", "message"),
    [
        pytest.param(
            {"n": 0}, lambda f: f.integer("n", "Budget", default=3, minimum=1, maximum=9),
            "Budget must be a whole number of at least 1 and at most 9, got 0.", id="too small",
        ),
        pytest.param(
            {"n": True}, lambda f: f.integer("n", "Budget", default=3), "got True", id="boolean"
        ),
        pytest.param(
            {"x": 0}, lambda f: f.number("x", "Frames", default=1, above=0), "above 0, got 0",
            id="at the lower bound",
        ),
        pytest.param(
            {"p": "yolp"}, lambda f: f.select("p", "Field", ["yolo", "detr"]),
            "Unknown field 'yolp'. Did you mean 'yolo'", id="unknown choice",
        ),
        pytest.param(
            {"s": []}, lambda f: f.multiselect("s", "Members", ["a"], default=["a"]),
            "Select at least 1", id="empty selection",
        ),
        pytest.param(
            {"why": "  "}, lambda f: f.text("why", "Why", missing="Enter a reason."),
            "Enter a reason.",
            id="empty text",
        ),
        pytest.param(
            {}, lambda f: f.confirm("Remove them"), "Check 'Remove them'", id="unconfirmed"
        ),
    ],
)  # fmt: skip
def test_invalid_value_is_an_error_of_its_input(make, params, add_input, message):
    form = make(**params)
    add_input(form)
    (error,) = errors_of(form).values()
    assert message in error


def test_error_without_input_belongs_to_form(make):
    form = make()
    form.error("The dataset is empty.")
    shown = form.inputs.properties["problem_1"]
    assert shown.invalid
    assert shown.view.description == "The dataset is empty."
