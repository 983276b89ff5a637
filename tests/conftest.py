"""Fixtures and checks shared by all tests: a temporary database, a user's home, skip control.

`FIFTYONE_DATABASE_URI` is set before any test can import FiftyOne, so no test sees or starts a
database of the machine. The server starts with the first test that requests it, and stops after
FiftyOne's exit hooks: if it stopped earlier, they would wait 30 seconds for it.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Self

import pytest

from curation.errors import DatabaseError
from curation.settings import Settings, from_environment
from curation.storage.database import mongod

_HOME = Path(tempfile.mkdtemp(prefix="curation-tests-"))
_PATIENCE_S = 1500  # for one command on a busy machine
_SERVER_FIXTURES = frozenset({"database", "home", "new_home", "vault"})
_ACCEPTED_SKIPS = (  # what no installation on this machine could change
    "needs a GPU",
    "CURATION_BENCHMARKS",
    "CURATION_FRESH_PYTHON",  # `make fresh-venv` runs them
    "CURATION_SHARED",
    "a tracker needs frames in order",
    "root may write everywhere",
    "No disk can be mounted here",
    "no small disk can be mounted here",
)
_refused_skips: list[str] = []


def pytest_configure() -> None:
    """Point this process at a server that is not running yet, and set up signal handlers."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a background job of a shell
        signal.signal(signal.SIGINT, signal.default_int_handler)  # child processes inherit this
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # fixtures then clean up
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {
        "CURATION_HOME": str(_HOME),
        "FIFTYONE_DATABASE_URI": f"mongodb://127.0.0.1:{port}",
        "FIFTYONE_DATABASE_NAME": "tests",
        "FIFTYONE_DEFAULT_DATASET_DIR": str(_HOME / "fiftyone"),
        "FIFTYONE_CONFIG_PATH": str(_HOME / "no_such_config.json"),
        "YOLO_AUTOINSTALL": "false",  # else ultralytics installs packages when it meets an image
        "YOLO_OFFLINE": "true",
    }
    os.environ.pop("FIFTYONE_PRIVATE_DATABASE_PORT", None)
    folder = _HOME / "db"
    folder.mkdir()
    mongod.record_port(folder, port)
    atexit.register(_clean_up)  # runs after FiftyOne's own hooks: last in, first out


def _clean_up() -> None:
    mongod.stop(from_environment())
    shutil.rmtree(_HOME, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a server; `make test-fast` leaves them out."""
    for item in items:
        if _SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("server")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect skipped tests whose reason is not one of `_ACCEPTED_SKIPS`."""
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not any(re.search(pattern, reason) for pattern in _ACCEPTED_SKIPS):
            _refused_skips.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a CI run in which a test was skipped for a tool that could have been installed."""
    is_worker = hasattr(session.config, "workerinput")
    if _refused_skips and os.environ.get("CI") and not is_worker and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the tests that CI does not accept as skipped."""
    if _refused_skips:
        terminalreporter.section("skipped for a missing tool (an error in CI)")
        for line in _refused_skips:
            terminalreporter.line(line)


@pytest.fixture(autouse=True)
def no_mlflow_store_in_the_working_directory() -> Iterator[None]:
    """Fail a test that lets MLflow write its default store into the working directory."""
    yield
    stores = [name for name in ("mlflow.db", "mlruns") if Path(name).exists()]
    assert not stores, f"{stores} in {Path.cwd()}: set the tracking URI before MLflow is called"


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Settings of this test session, with a temporary home and database."""
    return from_environment()


@pytest.fixture(scope="session")
def database(settings: Settings) -> str:
    """The address of a running database; FiftyOne works in it from now on."""
    from curation.storage.database import connection

    return connection.connect(settings).uri


@pytest.fixture
def dataset(database: str) -> Iterator[object]:
    """An empty FiftyOne dataset."""
    import fiftyone as fo

    dataset = fo.Dataset()
    yield dataset
    dataset.delete()


@dataclass
class Command:
    """A command in a session separate from ours, as a shell starts it."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def out(self) -> str:
        """Standard output so far."""
        return self.log.with_suffix(".out").read_text()

    @property
    def err(self) -> str:
        """Standard error so far."""
        return self.log.with_suffix(".err").read_text()

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        return self.process.wait(_PATIENCE_S)

    def signal(self, number: signal.Signals) -> int:
        """Signal the command's process group, as a terminal does; return the exit code."""
        os.killpg(self.process.pid, number)
        return self.wait()


class Home:
    """The home of a new user, and `curate` as run from there.

    A context manager that ends every program it started.

    Attributes:
        folder: CURATION_HOME, which does not exist yet.
    """

    def __init__(self, user: Path) -> None:
        self.user, self.folder = user, user / ".curation"
        foreign = ("FIFTYONE_", "CURATION_", "MLFLOW_", "PYTEST", "PYTHONDONTWRITEBYTECODE")
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(foreign)
        }
        own = {"HOME": str(user), "CURATION_HOME": str(self.folder)}
        # One thread each: several commands in parallel would wait for each other otherwise.
        self._environment = {**inherited, **own, "OMP_NUM_THREADS": "1"}
        self._commands: list[Command] = []
        self._numbers = count()

    def __enter__(self) -> Self:
        self.user.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for command in self._commands:
            if command.is_running:
                command.signal(signal.SIGKILL)
        with suppress(OSError):  # the folder may be full or deleted
            self.stop_database()

    @property
    def settings(self) -> Settings:
        return from_environment({"CURATION_HOME": str(self.folder)})

    def curate(self, *words: object, code: int = 0, **environment: object) -> Command:
        """Run a command to its end and check its exit code."""
        command = self.start("curate", *words, **environment)
        assert command.wait() == code, f"curate {words}\n{command.out}\n{command.err}"
        return command

    def python(self, script: str, *words: object, **environment: object) -> str:
        """Run a script that must succeed, and return its output."""
        command = self.start("python", "-c", script, *words, **environment)
        assert command.wait() == 0, f"{script}\n{command.out}\n{command.err}"
        return command.out

    def start(self, program: str, *words: object, **environment: object) -> Command:
        """Start a program of this environment without waiting for it."""
        log = self.user / f"log-{next(self._numbers)}"
        variables = self._environment | {name: str(value) for name, value in environment.items()}
        with log.with_suffix(".out").open("w") as out, log.with_suffix(".err").open("w") as err:
            process = subprocess.Popen(
                [Path(sys.executable).with_name(program), *map(str, words)],
                cwd=self.user, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True,
            )  # fmt: skip
        command = Command(process, log)
        self._commands.append(command)
        return command

    def kill_database(self) -> None:
        """Kill the embedded mongod, as a crash would."""
        pid = mongod.status(self.settings).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while mongod.status(self.settings).pid is not None:
            pass

    def stop_database(self) -> None:
        """Stop the embedded mongod; kill it when it does not stop."""
        try:
            mongod.stop(self.settings)
        except DatabaseError:
            self.kill_database()


@pytest.fixture(scope="session")
def new_home() -> Callable[[Path], Home]:
    """Return a function that makes a user's home in a folder."""
    return Home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A new user's home for one test."""
    with Home(tmp_path / "user") as user_home:
        yield user_home
