"""What every test that touches a dataset shares: a database of its own, gone afterwards.

`FIFTYONE_DATABASE_URI` is set before any test can import FiftyOne, so that no test ever sees,
or starts, a database of the machine. The server itself starts with the first test that asks
for it, and stops after FiftyOne's exit hooks: stopped earlier, they wait 30 seconds for it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation import mongod
from curation.settings import Settings, from_environment

_HOME = Path(tempfile.mkdtemp(prefix="curation-tests-"))


def pytest_configure() -> None:
    """Point this process at a server that does not run yet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {
        "CURATION_HOME": str(_HOME),
        "FIFTYONE_DATABASE_URI": f"mongodb://127.0.0.1:{port}",
        "FIFTYONE_DATABASE_NAME": "tests",
        "FIFTYONE_DEFAULT_DATASET_DIR": str(_HOME / "fiftyone"),
        "FIFTYONE_CONFIG_PATH": str(_HOME / "no_such_config.json"),
    }
    os.environ.pop("FIFTYONE_PRIVATE_DATABASE_PORT", None)
    folder = _HOME / "db"
    folder.mkdir()
    mongod.record_port(folder, port)
    atexit.register(_clean_up)  # before FiftyOne registers its own: the last in is the first out


def _clean_up() -> None:
    mongod.stop(from_environment())
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Settings of this test session: a home and a database of its own."""
    return from_environment()


@pytest.fixture(scope="session")
def database(settings: Settings) -> str:
    """The address of a running database; FiftyOne works in it from now on."""
    from curation import database as door

    return door.connect(settings).uri


@pytest.fixture
def dataset(database: str) -> Iterator[object]:
    """An empty FiftyOne dataset."""
    import fiftyone as fo

    made = fo.Dataset()
    yield made
    made.delete()
