"""Adapters by name: registering, creating, and that the built-ins are whole."""

from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest

from cascade import registry
from cascade.errors import (
    CascadeError,
    DuplicateModelError,
    MissingExtraError,
    UnknownModelError,
)

BUILT_IN = registry.names()


@pytest.fixture(autouse=True)
def _registry_of_its_own(monkeypatch):
    monkeypatch.setattr(registry, "_adapters", dict(registry._adapters))


def test_a_registered_adapter_is_created_with_its_checkpoint_and_params():
    registry.register("a_dict", tier="detection", factory="cascade.registry:Adapter")
    made = registry.create("a_dict", "thing", tier="detection", factory="x:y")
    assert made == registry.Adapter(name="thing", tier="detection", factory="x:y")


def test_registering_imports_nothing():
    registry.register("ghost", tier="detection", factory="no.such.module:Thing")
    assert registry.get("ghost").factory == "no.such.module:Thing"


@pytest.mark.parametrize(
    "factory", ["no.such.module:Thing", "cascade.registry:Nothing"], ids=["module", "attribute"]
)
def test_a_factory_that_cannot_be_imported_is_named(factory):
    registry.register("ghost", tier="detection", factory=factory)
    with pytest.raises(CascadeError, match=f"'ghost' names the factory '{factory}'"):
        registry.create("ghost")


def test_a_taken_name_is_refused():
    with pytest.raises(DuplicateModelError, match="'yolo' is registered already"):
        registry.register("yolo", tier="detection", factory="x:y")


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UnknownModelError, match="Did you mean 'yolo'"):
        registry.create("yol")


def test_a_missing_package_is_named_before_anything_is_imported():
    registry.register("needy", tier="detection", factory="no.such:Thing", needs=("no_such_pkg",))
    assert registry.get("needy").missing == ("no_such_pkg",)
    with pytest.raises(MissingExtraError, match="'needy' needs the package 'no_such_pkg'"):
        registry.create("needy", Path("nowhere"))


def test_names_are_sorted_and_filtered_by_tier():
    registry.register("aaa", tier="language", factory="x:y")
    assert registry.names() == tuple(sorted({*BUILT_IN, "aaa"}))
    assert registry.names("language") == ("aaa", "vision_language")


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_is_whole(name):
    adapter = registry.get(name)
    module, _, attribute = adapter.factory.partition(":")
    assert find_spec(module), f"{module} does not exist"
    assert attribute
    assert adapter.tier in get_args(registry.Tier)
