"""A temporary home with the files, the database and the registry that release 0.1.0 wrote.

Everything runs in processes of its own, as a user runs it, so that the tests depend on commands,
on `import curation as cu`, on FiftyOne and on MLflow, and not on the place of a module.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bson import json_util
from pymongo import MongoClient

DATA = Path(__file__).parent / "data_0_1_0"
HOME_PLACEHOLDER = "@CURATION_HOME@"  # as in make_data.py
PATIENCE_S = 500  # for one command, on a machine that is busy with others


class OldHome:
    """What release 0.1.0 left, and `curate` as it is now.

    Attributes:
        home: CURATION_HOME.
        database_uri: The address of the running MongoDB.
    """

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        foreign = ("FIFTYONE_", "CURATION_", "MLFLOW_", "PYTEST")
        inherited = {name: v for name, v in os.environ.items() if not name.startswith(foreign)}
        self._environment = inherited | {
            "HOME": str(folder),  # so that no database of the user is taken
            "CURATION_HOME": str(self.home),
            "FIFTYONE_PLUGINS_DIR": str(folder / "plugins"),
            "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",  # as in make_data.py
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "1",
        }
        self._restore_files()
        self._restore_registry()
        address = re.search(r"mongodb://\S+", self.curate("db", "start"))
        assert address is not None
        self.database_uri = address[0]
        self._restore_database()

    def curate(self, *words: object, code: int = 0) -> str:
        """Run a command, which must end with the exit code; return what it printed."""
        return self._run([str(Path(sys.executable).with_name("curate")), *map(str, words)], code)

    def python(self, script: str | Path, *words: object) -> str:
        """Run a script, which must succeed; return what it printed."""
        start = [str(script)] if isinstance(script, Path) else ["-c", script]
        return self._run([sys.executable, *start, *map(str, words)], 0)

    @contextmanager
    def database(self) -> Iterator[object]:
        """Give the database that FiftyOne works in."""
        with MongoClient(self.database_uri, tz_aware=True) as client:
            yield client["fiftyone"]

    def _run(self, command: list[str], code: int) -> str:
        done = subprocess.run(
            command, cwd=self.home, env=self._environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _restore_files(self) -> None:
        with tarfile.open(DATA / "home.tar.gz") as tar:
            tar.extractall(self.home, filter="data")
        for path in (self.home / "datasets").rglob("*"):
            if path.suffix in (".csv", ".json", ".txt"):
                path.write_text(path.read_text().replace(HOME_PLACEHOLDER, str(self.home)))
        packaged = {_sha256(path): path for path in _packaged_weights()}
        for path, digest in json.loads((DATA / "weights.json").read_text()).items():
            shutil.copyfile(packaged[digest], self.home / path)

    def _restore_registry(self) -> None:
        text = gzip.decompress((DATA / "registry.sql.gz").read_bytes()).decode()
        connection = sqlite3.connect(self.home / "mlflow.db")
        connection.executescript(text.replace(HOME_PLACEHOLDER, str(self.home)))
        connection.close()

    def _restore_database(self) -> None:
        with self.database() as database:
            for path in sorted((DATA / "database").iterdir()):
                content = path.read_bytes()
                text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
                lines = text.replace(HOME_PLACEHOLDER, str(self.home)).splitlines()
                documents = [json_util.loads(line) for line in lines]
                database[path.name.partition(".jsonl")[0]].insert_many(documents)


@pytest.fixture(scope="session")
def expected() -> dict[str, object]:
    """What release 0.1.0 reads from its own files."""
    return json.loads((DATA / "expected.json").read_text())


@pytest.fixture(scope="module")
def untouched_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldHome]:
    """A home of release 0.1.0 to read from only."""
    yield from _stopped_afterwards(OldHome(tmp_path_factory.mktemp("read")))


@pytest.fixture
def old_home(tmp_path: Path) -> Iterator[OldHome]:
    """A home of release 0.1.0 to work in."""
    yield from _stopped_afterwards(OldHome(tmp_path))


def _stopped_afterwards(home: OldHome) -> Iterator[OldHome]:
    try:
        yield home
    finally:
        home.curate("db", "stop")


def _packaged_weights() -> Iterator[Path]:
    """Yield the weights that are packaged with the code under test."""
    package = importlib.util.find_spec("curation")
    assert package is not None
    assert package.origin is not None
    for folder in Path(package.origin).parents[1].iterdir():
        if (folder / "__init__.py").is_file():
            yield from folder.rglob("*.safetensors")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
