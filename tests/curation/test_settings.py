"""Settings from the environment."""

from pathlib import Path

import pytest

from curation import settings
from curation.errors import SettingsError


def test_empty_environment_puts_home_under_user():
    result = settings.from_environment({})
    assert result.home == Path.home() / ".curation"
    assert result.database_uri is None
    assert result.tracking_uri == f"sqlite:///{Path.home()}/.curation/mlflow.db"


def test_variables_override_defaults(tmp_path):
    result = settings.from_environment(
        {
            "CURATION_HOME": str(tmp_path),
            "FIFTYONE_DATABASE_URI": "mongodb+srv://cluster.example/x",
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
        }
    )
    assert result.home == tmp_path
    assert result.database_folder == tmp_path / "db"
    assert result.database_uri == "mongodb+srv://cluster.example/x"
    assert result.tracking_uri == "http://127.0.0.1:5000"


def test_empty_variable_counts_as_unset():
    assert settings.from_environment({"FIFTYONE_DATABASE_URI": ""}).database_uri is None


@pytest.mark.parametrize("uri", ["localhost:27017", "http://127.0.0.1", "mongodb://"])
def test_invalid_database_address_is_refused_without_being_shown(uri):
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
def test_dataset_folder_stays_under_home(name, folder, tmp_path):
    result = settings.from_environment({"CURATION_HOME": str(tmp_path)})
    assert result.dataset_folder(name) == tmp_path / "datasets" / folder


def test_telemetry_is_off_unless_environment_enables_it():
    environment = {"MLFLOW_DISABLE_TELEMETRY": "false"}
    settings.silence_telemetry(environment)
    assert environment["FIFTYONE_DO_NOT_TRACK"] == "1"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "false"
