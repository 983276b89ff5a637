import json
import os

import pytest

from curation.app import plugins
from curation.errors import PluginError

VERBS = sorted(plugins.plugins())
KNOWN = {"predict_cascade", "rank_samples", "label_roundtrip", "manage_runs"}


def test_install_links_every_plugin_that_ships(tmp_path):
    places = plugins.install(tmp_path)
    assert [place.relative_to(tmp_path).as_posix() for place in places] == [
        f"@curation/{verb}" for verb in VERBS
    ]
    assert all(place.is_symlink() and (place / "fiftyone.yml").is_file() for place in places)


def test_the_verbs_ship():
    assert set(VERBS) >= KNOWN


def test_installing_twice_changes_nothing(tmp_path):
    first = plugins.install(tmp_path)
    assert plugins.install(tmp_path) == first == plugins.installed(tmp_path)


def test_copies_are_ours_too(tmp_path):
    places = plugins.install(tmp_path, copy=True)
    assert not any(place.is_symlink() for place in places)
    assert plugins.installed(tmp_path) == places
    assert plugins.install(tmp_path) == places, "a copy is replaced by a link"
    assert all(place.is_symlink() for place in places)


def test_a_copy_is_made_where_links_are_refused(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise OSError("A required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", refuse)
    places = plugins.install(tmp_path)
    assert all((place / "__init__.py").is_file() for place in places)
    assert not any(place.is_symlink() for place in places)


def test_uninstall_leaves_nothing_of_ours(tmp_path):
    places = plugins.install(tmp_path)
    assert plugins.uninstall(tmp_path) == places
    assert list(tmp_path.iterdir()) == []
    assert plugins.uninstall(tmp_path) == []


def test_the_plugins_themselves_survive_uninstalling(tmp_path):
    plugins.install(tmp_path)
    plugins.uninstall(tmp_path)
    assert list(plugins.plugins()) == VERBS


def _folder(place):
    place.mkdir(parents=True)
    (place / "fiftyone.yml").write_text("name: theirs")


def _link_elsewhere(place):
    place.parent.mkdir(parents=True)
    (place.parent.parent / "theirs").mkdir()
    place.symlink_to(place.parent.parent / "theirs")


@pytest.mark.parametrize(
    "put",
    [
        pytest.param(_folder, id="somebody's folder"),
        pytest.param(_link_elsewhere, id="somebody's link"),
    ],
)
def test_what_is_not_ours_is_left_alone(tmp_path, put):
    place = tmp_path / "@curation" / "rank_samples"
    put(place)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(PluginError, match=r"rank_samples was not put there by us"):
        plugins.install(tmp_path)
    assert plugins.uninstall(tmp_path) == []
    assert sorted(tmp_path.rglob("*")) == before, "nothing was installed by half"


def test_a_dead_link_of_an_earlier_environment_is_replaced(tmp_path):
    place = tmp_path / "@curation" / "rank_samples"
    place.parent.mkdir()
    place.symlink_to("/gone/site-packages/curation/_plugins/rank_samples")
    assert plugins.installed(tmp_path) == [place]
    plugins.install(tmp_path)
    assert (place / "__init__.py").is_file()


def test_a_plugins_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PluginError, match=r"@curation cannot be written .*--target"):
        plugins.install(tmp_path / "file")


HOME_DEFAULT = "~/fiftyone/__plugins__"


@pytest.mark.parametrize(
    ("config", "environment", "expected"),
    [
        pytest.param({}, {}, HOME_DEFAULT, id="FiftyOne's default"),
        pytest.param({"plugins_dir": "/c"}, {}, "/c", id="its configuration file"),
        pytest.param(
            {"plugins_dir": "/c"}, {"FIFTYONE_PLUGINS_DIR": "/e"}, "/e", id="the environment wins"
        ),
        pytest.param({"default_dataset_dir": "/d"}, {}, "/d/__plugins__", id="beside its data"),
        pytest.param(
            {}, {"FIFTYONE_DEFAULT_DATASET_DIR": "/d"}, "/d/__plugins__", id="data by environment"
        ),
    ],
)
def test_where_fiftyone_looks(tmp_path, config, environment, expected):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    found = plugins.fiftyone_folder({"FIFTYONE_CONFIG_PATH": str(file), **environment})
    assert str(found) == os.path.expanduser(expected)


def test_a_broken_configuration_of_fiftyone_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(PluginError, match=r"config\.json is no JSON"):
        plugins.fiftyone_folder({"FIFTYONE_CONFIG_PATH": str(tmp_path / "config.json")})


def test_fiftyone_agrees_on_where_it_looks(database, monkeypatch, tmp_path):
    """Its own configuration object is the reference."""
    monkeypatch.setenv("FIFTYONE_DEFAULT_DATASET_DIR", str(tmp_path))
    monkeypatch.delenv("FIFTYONE_PLUGINS_DIR", raising=False)
    from fiftyone.core.config import load_config

    assert str(plugins.fiftyone_folder()) == load_config().plugins_dir


def test_what_is_missing_is_linked_once(tmp_path, monkeypatch):
    monkeypatch.setenv("FIFTYONE_PLUGINS_DIR", str(tmp_path))
    first = plugins.install_missing()
    assert {place.name for place in first} == set(plugins.plugins())
    first[0].unlink()
    assert plugins.install_missing() == first[:1]
    assert plugins.install_missing() == []


def test_a_folder_that_is_our_own_is_left_alone(monkeypatch):
    monkeypatch.setenv("FIFTYONE_PLUGINS_DIR", str(plugins.shipped_folder()))
    assert plugins.install_missing() == []
    assert not (plugins.shipped_folder() / "@curation").exists()
