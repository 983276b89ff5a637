"""The exception tree and its messages."""

import inspect

import pytest

from cascade import errors
from cascade.errors import (
    CascadeError,
    DuplicateModelError,
    MissingExtraError,
    UnknownModelError,
    nearest,
)

ALL = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, CascadeError) and error is not CascadeError
]


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_error_is_documented_and_inherits_a_built_in(error):
    assert f"x {error.__name__} " in errors.__doc__
    assert issubclass(error, CascadeError)
    assert issubclass(error, (LookupError, ValueError, ImportError, OSError))


def test_documentation_lists_no_other_error():
    documented = {
        line.split()[1] for line in errors.__doc__.splitlines() if line.startswith("  x ")
    }
    assert documented == {error.__name__ for error in ALL}


NEAREST = [
    pytest.param("dete", ["detr", "yolo"], "Did you mean 'detr'?", id="one match"),
    pytest.param("cone", ["cones", "conee"], "Did you mean 'cones' or 'conee'?", id="two matches"),
    pytest.param("xyz", ["b", "a"], "Known: a, b.", id="no match"),
    pytest.param("xyz", [], "Known: none.", id="no names"),
]


@pytest.mark.parametrize(("name", "names", "sentence"), NEAREST)
def test_nearest(name, names, sentence):
    assert nearest(name, names) == sentence


def test_messages():
    assert str(UnknownModelError("yolo_", ["yolo"])) == (
        "No adapter is named 'yolo_'. Did you mean 'yolo'?"
    )
    assert "Choose another name" in str(DuplicateModelError("yolo"))
    missing = MissingExtraError(adapter="yolo", package="ultralytics")
    assert missing.package == "ultralytics"
    assert "pip install 'cascade-curation[ultralytics]'" in str(missing)
