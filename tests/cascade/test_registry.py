"""Registration and creation of adapters."""

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
def _isolated_registry(monkeypatch):
    monkeypatch.setattr(registry, "_adapters", dict(registry._adapters))


def test_create_passes_checkpoint_and_params():
    registry.register("a_dict", tier="detection", factory="cascade.registry:Adapter")
    created = registry.create("a_dict", "thing", tier="detection", factory="x:y")
    assert created == registry.Adapter(name="thing", tier="detection", factory="x:y")


def test_register_imports_nothing():
    registry.register("ghost", tier="detection", factory="no.such.module:Thing")
    assert registry.get("ghost").factory == "no.such.module:Thing"


@pytest.mark.parametrize(
    "factory", ["no.such.module:Thing", "cascade.registry:Nothing"], ids=["module", "attribute"]
)
def test_create_with_a_missing_factory_raises(factory):
    registry.register("ghost", tier="detection", factory=factory)
    with pytest.raises(
        CascadeError, match=f"Cannot import the factory '{factory}' of the adapter 'ghost'"
    ):
        registry.create("ghost")


def test_register_duplicate_raises():
    with pytest.raises(DuplicateModelError, match="'yolo' is already registered"):
        registry.register("yolo", tier="detection", factory="x:y")


def test_unknown_name_error_suggests_the_closest():
    with pytest.raises(UnknownModelError, match="Did you mean 'yolo'"):
        registry.create("yol")


def test_create_with_a_missing_package_raises():
    registry.register("needy", tier="detection", factory="no.such:Thing", needs=("no_such_pkg",))
    assert registry.get("needy").missing == ("no_such_pkg",)
    with pytest.raises(MissingExtraError, match="'needy' requires the package 'no_such_pkg'"):
        registry.create("needy", Path("nowhere"))


def test_names_by_tier():
    registry.register("aaa", tier="language", factory="x:y")
    assert registry.names() == tuple(sorted({*BUILT_IN, "aaa"}))
    assert registry.names("language") == ("aaa", "vision_language")


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_adapter_is_valid(name):
    adapter = registry.get(name)
    module, _, attribute = adapter.factory.partition(":")
    assert find_spec(module), f"{module} does not exist"
    assert attribute
    assert adapter.tier in get_args(registry.Tier)
