import importlib
import sys

import pytest

from cascade.imaging import batches
from cascade.runtime.moved_modules import MovedModules


@pytest.fixture
def moved(monkeypatch):
    monkeypatch.setattr(
        sys,
        "meta_path",
        [*sys.meta_path, MovedModules({"cascade.pixels": "cascade.imaging.batches"})],
    )
    yield
    sys.modules.pop("cascade.pixels", None)


def test_former_name_offers_the_same_objects(moved):
    former = importlib.import_module("cascade.pixels")
    assert former.read is batches.read
    assert former.__name__ == "cascade.pixels"
    assert batches.__spec__.name == "cascade.imaging.batches"


def test_unknown_name_is_still_an_import_error(moved):
    with pytest.raises(ModuleNotFoundError, match=r"cascade\.pictures"):
        importlib.import_module("cascade.pictures")


@pytest.mark.parametrize("name", ["cascade.images", "cascade.predictor"])
def test_names_in_registered_ensembles_of_release_0_1_can_be_imported(name):
    assert importlib.import_module(name)
