import logging
import os
import re
import subprocess
import sys

import pytest

from curation.errors import PublishError
from curation.storage.database import mongod
from curation.tracking import Registry, RunContents, champion_folder
from curation.tracking.registry.promotion import Promotions


@pytest.fixture
def registry(tmp_path, tracking_uri):
    return Registry(tracking_uri, tmp_path / "home" / "mlartifacts")


@pytest.fixture
def folder(tmp_path):
    """Return the maker of a folder that stands for an ensemble: the registry looks into none."""

    def make(content):
        path = tmp_path / f"ensemble-{content}"
        (path / "members" / "tiny").mkdir(parents=True)
        (path / "manifest.yaml").write_text(content)
        (path / "members" / "tiny" / "weights.safetensors").write_bytes(b"\x00\x01")
        return path

    return make


@pytest.fixture
def promotions(registry, database):
    with mongod.open_client(database) as client:
        yield Promotions(registry, client.tests)


@pytest.fixture
def promote(promotions):
    def one(name, version, verdict):
        return promotions.promote(name, version, by="Ada", why="a test", verdict=verdict)

    return one


@pytest.fixture
def register(registry, folder):
    def one(identity, name="demo"):
        return registry.register(folder(identity), name=name, identity=identity)

    return one


def test_an_ensemble_is_one_version_with_all_that_belongs_to_it(registry, folder, tmp_path):
    extra = tmp_path / "evaluation.json"
    extra.write_text("{}")
    version = registry.register(
        folder("a"),
        name="demo",
        identity="a",
        contents=RunContents(
            metrics={"mcc": 0.5, "map50": None},
            params={"seed": 3},
            files={"evaluation": extra},
        ),
        tags={"round": "1", "dataset_hash": "abc"},
    )
    (only,) = registry.versions("demo")
    assert (version, only.version, only.ensemble, only.aliases) == ("1", "1", "a", ())
    assert {"ensemble": "a", "dataset_hash": "abc", "round": "1"}.items() <= only.tags.items()
    (run,) = registry._client.search_runs([registry.connection.experiment_id("demo")])
    assert {k: v for k, v in run.data.metrics.items() if "system/" not in k} == {"mcc": 0.5}
    assert run.data.params == {"seed": "3"}
    assert [one.path for one in registry._client.list_artifacts(run.info.run_id)] == ["evaluation"]


def test_no_pickle_is_kept(register, tmp_path):
    register("a")
    kept = {one.name for one in (tmp_path / "home" / "mlartifacts").rglob("*") if one.is_file()}
    assert "ensemble_model.py" in kept
    assert not {one for one in kept if one.endswith((".pkl", ".pt", ".pickle", ".joblib"))}


def test_the_same_ensemble_is_registered_once(registry, register):
    assert [register("a"), register("b")] == ["1", "2"]
    assert registry.register("nowhere", name="demo", identity="a") == "1"
    assert len(registry.versions("demo")) == 2


def test_nothing_is_in_service_at_first(registry):
    assert registry.champion("demo") is None
    assert registry.versions("demo") == []
    assert registry.aliases("demo") == {}


def test_promoting_remembers_what_was_replaced(registry, register, promote):
    for identity in "ab":
        register(identity)
    promote("demo", "1", "bootstrap")
    registry.set_challenger("demo", "2")
    assert registry.aliases("demo") == {"champion": "1", "challenger": "2"}
    promote("demo", "2", "promote")
    assert registry.aliases("demo") == {"champion": "2", "previous": "1"}
    tags = [one.tags for one in registry.versions("demo")]
    assert (tags[0]["verdict"], tags[1]["verdict"], tags[1]["replaced"]) == (
        "bootstrap",
        "promote",
        "1",
    )


def test_promoting_twice_is_promoting_once(registry, register, promote):
    for identity in "ab":
        register(identity)
    for version in "1122":
        promote("demo", version, "promote")
    assert registry.aliases("demo") == {"champion": "2", "previous": "1"}


def test_the_champion_comes_back_file_by_file(registry, register, promote, tmp_path):
    promote("demo", register("a"), "bootstrap")
    to = tmp_path / "back"
    to.mkdir()
    (to / "old.txt").write_text("of an earlier one")
    assert registry.download("demo", "champion", to) == to
    files = sorted(str(one.relative_to(to)) for one in to.rglob("*") if one.is_file())
    assert files == ["manifest.yaml", "members/tiny/weights.safetensors"]
    assert (to / "manifest.yaml").read_text() == "a"
    assert not list(tmp_path.glob(".download-*"))


def test_an_alias_that_nobody_has_is_named(registry, tmp_path):
    with pytest.raises(PublishError, match="No version of 'demo' is previous"):
        registry.download("demo", "previous", tmp_path / "back")


@pytest.mark.parametrize("name", ["o'hara", "a/b:c", 'say "x"', "größe 100 %"])
def test_data_sets_may_be_called_anything(registry, register, promote, name):
    promote(name, register("a", name=name), "bootstrap")
    assert registry.champion(name) == "1"
    assert registry.versions(name)[0].aliases == ("champion",)


def test_data_sets_do_not_mix(registry, register):
    register("a", name="one")
    assert registry.versions("two") == []


def test_a_registry_that_is_not_there_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    registry = Registry(f"sqlite:///{tmp_path}/file/mlflow.db", tmp_path)
    with pytest.raises(PublishError, match=re.escape("(sqlite:///")):
        registry.champion("demo")


def test_mlflow_is_left_as_it_was(register):
    import mlflow

    def state():
        return mlflow.get_tracking_uri(), logging.getLogger("mlflow").level, dict(os.environ)

    before = state()
    register("a")
    assert state() == before


def test_the_champion_of_the_settings_is_fetched(register, promote, tmp_path):
    from curation.settings import Settings

    home = tmp_path / "home"
    settings = Settings(
        home=home, database_uri=None, tracking_uri=f"sqlite:///{home / 'mlflow.db'}"
    )
    assert champion_folder("demo", settings, into=tmp_path / "champion") is None
    promote("demo", register("a"), "bootstrap")
    folder = champion_folder("demo", settings, into=tmp_path / "champion")
    assert (folder / "manifest.yaml").read_text() == "a"


@pytest.mark.slow
def test_fiftyone_can_still_be_imported_afterwards(tracking_uri, database, tmp_path):
    code = (
        "from pathlib import Path; from curation.tracking import Registry; "
        f"assert Registry({tracking_uri!r}, Path({str(tmp_path)!r})).champion('demo') is None; "
        "import fiftyone"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
