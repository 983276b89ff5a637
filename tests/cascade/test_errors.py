"""The exceptions: one tree, kin of the built-ins, messages that say what to do."""

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
    one
    for _, one in inspect.getmembers(errors, inspect.isclass)
    if issubclass(one, CascadeError) and one is not CascadeError
]


@pytest.mark.parametrize("error", ALL, ids=lambda one: one.__name__)
def test_every_error_is_drawn_in_the_tree_and_has_built_in_kin(error):
    assert f"x {error.__name__} " in errors.__doc__
    assert issubclass(error, CascadeError)
    assert issubclass(error, (LookupError, ValueError, ImportError, OSError))


def test_the_tree_draws_nothing_else():
    drawn = {line.split()[1] for line in errors.__doc__.splitlines() if line.startswith("  x ")}
    assert drawn == {one.__name__ for one in ALL}


NEAREST = [
    pytest.param("dete", ["detr", "yolo"], "Did you mean 'detr'?", id="one is near"),
    pytest.param("cone", ["cones", "conee"], "Did you mean 'cones' or 'conee'?", id="two are"),
    pytest.param("xyz", ["b", "a"], "Known: a, b.", id="none is near: all of them, sorted"),
    pytest.param("xyz", [], "Known: none.", id="nothing is known"),
]


@pytest.mark.parametrize(("name", "known", "sentence"), NEAREST)
def test_nearest_by_hand(name, known, sentence):
    assert nearest(name, known) == sentence


def test_messages_say_what_came_and_what_to_do():
    assert str(UnknownModelError("yolo_", ["yolo"])) == (
        "No adapter is named 'yolo_'. Did you mean 'yolo'?"
    )
    assert "Choose another name" in str(DuplicateModelError("yolo"))
    missing = MissingExtraError(adapter="yolo", package="ultralytics")
    assert missing.package == "ultralytics"
    assert "pip install 'cascade-curation[ultralytics]'" in str(missing)
