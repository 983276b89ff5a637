import json
import os

import pytest

from curation.app import plugins
from curation.errors import PluginError

NAMES = sorted(plugins.shipped_plugins())
REQUIRED = {"predict_cascade", "rank_samples", "label_roundtrip", "manage_runs"}


def test_install_links_every_plugin_that_ships(tmp_path):
    paths = plugins.install(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        f"@curation/{name}" for name in NAMES
    ]
    assert all(path.is_symlink() and (path / "fiftyone.yml").is_file() for path in paths)


def test_required_plugins_ship():
    assert set(NAMES) >= REQUIRED


def test_installing_twice_is_idempotent(tmp_path):
    first = plugins.install(tmp_path)
    assert plugins.install(tmp_path) == first == plugins.installed(tmp_path)


def test_copies_are_recognized_as_ours(tmp_path):
    paths = plugins.install(tmp_path, copy=True)
    assert not any(path.is_symlink() for path in paths)
    assert plugins.installed(tmp_path) == paths
    assert plugins.install(tmp_path) == paths, "a copy is replaced by a link"
    assert all(path.is_symlink() for path in paths)


def test_plugins_are_copied_without_links(tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise OSError("A required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", fail)
    paths = plugins.install(tmp_path)
    assert all((path / "__init__.py").is_file() for path in paths)
    assert not any(path.is_symlink() for path in paths)


def test_uninstall_removes_all_of_ours(tmp_path):
    paths = plugins.install(tmp_path)
    assert plugins.uninstall(tmp_path) == paths
    assert list(tmp_path.iterdir()) == []
    assert plugins.uninstall(tmp_path) == []


def test_uninstall_keeps_the_shipped_plugins(tmp_path):
    plugins.install(tmp_path)
    plugins.uninstall(tmp_path)
    assert list(plugins.shipped_plugins()) == NAMES


def _make_folder(path):
    path.mkdir(parents=True)
    (path / "fiftyone.yml").write_text("name: theirs")


def _make_foreign_link(path):
    path.parent.mkdir(parents=True)
    (path.parent.parent / "theirs").mkdir()
    path.symlink_to(path.parent.parent / "theirs")


@pytest.mark.parametrize(
    "make_foreign",
    [
        pytest.param(_make_folder, id="foreign folder"),
        pytest.param(_make_foreign_link, id="foreign link"),
    ],
)
def test_foreign_files_are_left_alone(tmp_path, make_foreign):
    path = tmp_path / "@curation" / "rank_samples"
    make_foreign(path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(PluginError, match=r"rank_samples was not installed by us"):
        plugins.install(tmp_path)
    assert plugins.uninstall(tmp_path) == []
    assert sorted(tmp_path.rglob("*")) == before, "nothing was installed partially"


def test_dead_link_of_earlier_environment_is_replaced(tmp_path):
    path = tmp_path / "@curation" / "rank_samples"
    path.parent.mkdir()
    path.symlink_to("/gone/site-packages/curation/_plugins/rank_samples")
    assert plugins.installed(tmp_path) == [path]
    plugins.install(tmp_path)
    assert (path / "__init__.py").is_file()


def test_file_as_plugins_folder_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PluginError, match=r"Cannot write to .*@curation .*--target"):
        plugins.install(tmp_path / "file")


HOME_DEFAULT = "~/fiftyone/__plugins__"


@pytest.mark.parametrize(
    ("config", "environment", "expected"),
    [
        pytest.param({}, {}, HOME_DEFAULT, id="FiftyOne's default"),
        pytest.param({"plugins_dir": "/c"}, {}, "/c", id="configuration file"),
        pytest.param(
            {"plugins_dir": "/c"},
            {"FIFTYONE_PLUGINS_DIR": "/e"},
            "/e",
            id="environment takes precedence",
        ),
        pytest.param({"default_dataset_dir": "/d"}, {}, "/d/__plugins__", id="folder of datasets"),
        pytest.param(
            {},
            {"FIFTYONE_DEFAULT_DATASET_DIR": "/d"},
            "/d/__plugins__",
            id="folder of datasets from environment",
        ),
    ],
)
def test_fiftyone_folder(tmp_path, config, environment, expected):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    folder = plugins.fiftyone_folder({"FIFTYONE_CONFIG_PATH": str(file), **environment})
    assert str(folder) == os.path.expanduser(expected)


def test_invalid_configuration_of_fiftyone_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(PluginError, match=r"config\.json is not valid JSON"):
        plugins.fiftyone_folder({"FIFTYONE_CONFIG_PATH": str(tmp_path / "config.json")})


def test_fiftyone_folder_agrees_with_fiftyone(database, monkeypatch, tmp_path):
    """Its own configuration object is the reference."""
    monkeypatch.setenv("FIFTYONE_DEFAULT_DATASET_DIR", str(tmp_path))
    monkeypatch.delenv("FIFTYONE_PLUGINS_DIR", raising=False)
    from fiftyone.core.config import load_config

    assert str(plugins.fiftyone_folder()) == load_config().plugins_dir


def test_missing_plugins_are_linked_once(tmp_path, monkeypatch):
    monkeypatch.setenv("FIFTYONE_PLUGINS_DIR", str(tmp_path))
    first = plugins.install_missing()
    assert {path.name for path in first} == set(plugins.shipped_plugins())
    first[0].unlink()
    assert plugins.install_missing() == first[:1]
    assert plugins.install_missing() == []


def test_our_own_folder_is_left_alone(monkeypatch):
    monkeypatch.setenv("FIFTYONE_PLUGINS_DIR", str(plugins.shipped_folder()))
    assert plugins.install_missing() == []
    assert not (plugins.shipped_folder() / "@curation").exists()
