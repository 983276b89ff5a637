"""The environment, read once."""

from pathlib import Path

import pytest

from curation import settings
from curation.errors import SettingsError


def test_an_empty_environment_has_a_home_under_the_user():
    found = settings.from_environment({})
    assert found.home == Path.home() / ".curation"
    assert found.database_uri is None
    assert found.tracking_uri == f"sqlite:///{Path.home()}/.curation/mlflow.db"


def test_what_is_set_is_used(tmp_path):
    found = settings.from_environment(
        {
            "CURATION_HOME": str(tmp_path),
            "FIFTYONE_DATABASE_URI": "mongodb+srv://cluster.example/x",
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
        }
    )
    assert found.home == tmp_path
    assert found.database_folder == tmp_path / "db"
    assert found.database_uri == "mongodb+srv://cluster.example/x"
    assert found.tracking_uri == "http://127.0.0.1:5000"


def test_set_but_empty_is_not_set():
    assert settings.from_environment({"FIFTYONE_DATABASE_URI": ""}).database_uri is None


@pytest.mark.parametrize("uri", ["localhost:27017", "http://127.0.0.1", "mongodb://"])
def test_an_address_that_is_none_is_refused_without_being_shown(uri):
    with pytest.raises(SettingsError, match="must begin with mongodb://") as caught:
        settings.from_environment({"FIFTYONE_DATABASE_URI": uri})
    assert "localhost:27017" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        pytest.param("demo", "demo", id="a plain name is its folder"),
        pytest.param("my data: v2", "my-data-v2", id="odd characters are folded"),
        pytest.param("../../etc", "etc", id="a name does not climb out of home"),
        pytest.param("..", "_", id="a name of dots only still has a folder"),
    ],
)
def test_a_dataset_has_a_folder_under_home(name, folder, tmp_path):
    found = settings.from_environment({"CURATION_HOME": str(tmp_path)})
    assert found.dataset_folder(name) == tmp_path / "datasets" / folder


def test_telemetry_is_off_unless_somebody_asks_for_it():
    environment = {"MLFLOW_DISABLE_TELEMETRY": "false"}
    settings.silence_telemetry(environment)
    assert environment["FIFTYONE_DO_NOT_TRACK"] == "1"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "false"
