"""Settings, read from the environment once at the entry point into one frozen object.

| variable                | meaning                                     | default              |
|-------------------------|---------------------------------------------|----------------------|
| `CURATION_HOME`         | home folder: database, frames, rounds, ...  | `~/.curation`        |
| `FIFTYONE_DATABASE_URI` | MongoDB to use instead of the embedded one  | see `connection.py`  |
| `MLFLOW_TRACKING_URI`   | MLflow store of runs and ensembles          | SQLite in the folder |

Functions take the values that they use, never the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from curation.errors import SettingsError

_MONGODB_URI = re.compile(r"mongodb(\+srv)?://.+")
_NO_TELEMETRY = {
    "DO_NOT_TRACK": "1",
    "FIFTYONE_DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True)
class Settings:
    """Locations of files and servers.

    Attributes:
        home: Absolute path of the home folder; it need not exist yet.
        database_uri: Address of an external MongoDB; None to look for one.
        tracking_uri: MLflow store of runs and ensembles.
    """

    home: Path
    database_uri: str | None
    tracking_uri: str

    @property
    def database_folder(self) -> Path:
        """Folder of the embedded mongod's files."""
        return self.home / "db"

    def vectors(self, dataset: str) -> Path:
        """Return the folder of a dataset's vectors."""
        return self.dataset_folder(dataset) / "vectors"

    def artifacts(self, dataset: str) -> Path:
        """Return the folder of a dataset's masks and depth maps."""
        return self.dataset_folder(dataset) / "artifacts"

    def dataset_folder(self, dataset: str) -> Path:
        """Return the folder of a dataset's files: see `folder_of`."""
        return folder_of(self.home, dataset)


def folder_of(home: Path, dataset: str) -> Path:
    """Return the folder of a dataset's files: `frames/`, `rounds/`, `vectors/`.

    No two datasets share a folder: FiftyOne refuses names whose slugs are equal.
    """
    return home / "datasets" / (re.sub(r"[^\w.-]+", "-", dataset).strip(".-") or "_")


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of an environment, by default of this process.

    Raises:
        SettingsError: `FIFTYONE_DATABASE_URI` is not a MongoDB address.
    """
    variables = os.environ if environment is None else environment
    home = Path(variables.get("CURATION_HOME") or "~/.curation").expanduser().absolute()
    uri = variables.get("FIFTYONE_DATABASE_URI") or None
    if uri is not None and not _MONGODB_URI.fullmatch(uri):
        raise SettingsError(
            "FIFTYONE_DATABASE_URI must begin with mongodb:// or mongodb+srv://, as in "
            "mongodb://127.0.0.1:27017. Unset it to use the embedded database."
        )
    return Settings(
        home=home,
        database_uri=uri,
        tracking_uri=variables.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}",
    )


def silence_telemetry(environment: MutableMapping[str, str] | None = None) -> None:
    """Turn off the telemetry of libraries. Variables that are set keep their values."""
    variables = os.environ if environment is None else environment
    for name, value in _NO_TELEMETRY.items():
        variables.setdefault(name, value)
