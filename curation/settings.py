"""The environment, read once at a door into one frozen object.

| variable                | meaning                                      | default              |
|-------------------------|----------------------------------------------|----------------------|
| `CURATION_HOME`         | our folder: database, frames, rounds, models | `~/.curation`        |
| `FIFTYONE_DATABASE_URI` | a MongoDB to work in instead of our own      | see `database.py`    |
| `MLFLOW_TRACKING_URI`   | where runs and ensembles are registered      | sqlite in our folder |

Functions take what they use of it, never the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from curation.errors import SettingsError

_MONGODB_URI = re.compile(r"mongodb(\+srv)?://.+")
_SILENCE = {
    "DO_NOT_TRACK": "1",
    "FIFTYONE_DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True)
class Settings:
    """What the doors are told from outside.

    Attributes:
        home: Our folder, absolute; it need not exist yet.
        database_uri: A MongoDB that somebody else runs; None where we look for one.
        tracking_uri: Where MLflow keeps runs and ensembles.
    """

    home: Path
    database_uri: str | None
    tracking_uri: str

    @property
    def database_folder(self) -> Path:
        """Where our own mongod keeps its files."""
        return self.home / "db"

    def vectors(self, dataset: str) -> Path:
        """Where the vectors of one dataset are kept."""
        return self.dataset_folder(dataset) / "vectors"

    def artifacts(self, dataset: str) -> Path:
        """Where masks and depth maps of one dataset are kept."""
        return self.dataset_folder(dataset) / "artifacts"

    def dataset_folder(self, dataset: str) -> Path:
        """Where the files of one dataset lie: see `folder_of`."""
        return folder_of(self.home, dataset)


def folder_of(home: Path, dataset: str) -> Path:
    """Return where the files of one dataset lie: `frames/`, `rounds/`, `vectors/`.

    FiftyOne keeps names apart that differ in more than what is folded here.
    """
    return home / "datasets" / (re.sub(r"[^\w.-]+", "-", dataset).strip(".-") or "_")


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of an environment; of this process's own where none is given.

    Raises:
        SettingsError: `FIFTYONE_DATABASE_URI` is no MongoDB address.
    """
    given = os.environ if environment is None else environment
    home = Path(given.get("CURATION_HOME") or "~/.curation").expanduser().absolute()
    uri = given.get("FIFTYONE_DATABASE_URI") or None
    if uri is not None and not _MONGODB_URI.fullmatch(uri):
        raise SettingsError(
            "FIFTYONE_DATABASE_URI must begin with mongodb:// or mongodb+srv://, as in "
            "mongodb://127.0.0.1:27017. Unset it to use our own database."
        )
    return Settings(
        home=home,
        database_uri=uri,
        tracking_uri=given.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}",
    )


def silence_telemetry(environment: MutableMapping[str, str] | None = None) -> None:
    """Have the libraries that we use report to nobody. A value that is set stays."""
    target = os.environ if environment is None else environment
    for name, value in _SILENCE.items():
        target.setdefault(name, value)
