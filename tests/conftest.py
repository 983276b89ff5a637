"""What every test that touches a dataset shares: a database of its own, gone afterwards.

`FIFTYONE_DATABASE_URI` is set before any test can import FiftyOne, so that no test ever sees,
or starts, a database of the machine. The server itself starts with the first test that asks
for it, and stops after FiftyOne's exit hooks: stopped earlier, they wait 30 seconds for it.
"""

from __future__ import annotations

import atexit
import os
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
_PATIENCE_S = 1500  # for one command, on a machine that is busy with others


def pytest_configure() -> None:
    """Point this process at a server that does not run yet, and settle what signals do."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell has it in the background:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # programs that we start obey
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that fixtures clean up then, too
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
    from curation.storage.database import connection

    return connection.connect(settings).uri


@pytest.fixture
def dataset(database: str) -> Iterator[object]:
    """An empty FiftyOne dataset."""
    import fiftyone as fo

    made = fo.Dataset()
    yield made
    made.delete()


@dataclass
class Command:
    """A command that was started, in a session of its own, as a shell starts it."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def out(self) -> str:
        """What it printed so far."""
        return self.log.with_suffix(".out").read_text()

    @property
    def err(self) -> str:
        """What it said on stderr so far."""
        return self.log.with_suffix(".err").read_text()

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        return self.process.wait(_PATIENCE_S)

    def signal(self, number: signal.Signals) -> int:
        """Signal it and all that it started, as a terminal does; return its exit code."""
        os.killpg(self.process.pid, number)
        return self.wait()


class Home:
    """The home of a user who has never run anything of ours, and `curate` as run from there.

    A context manager: at its end nothing that was started is left running.

    Attributes:
        folder: CURATION_HOME, which does not exist yet.
    """

    def __init__(self, user: Path) -> None:
        self.user, self.folder = user, user / ".curation"
        foreign = ("FIFTYONE_", "CURATION_", "MLFLOW_", "PYTEST", "PYTHONDONTWRITEBYTECODE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        own = {"HOME": str(user), "CURATION_HOME": str(self.folder)}
        # One thread: where several commands run at once, more of them wait for each other.
        self._environment = {**kept, **own, "OMP_NUM_THREADS": "1"}
        self._commands: list[Command] = []
        self._numbers = count()

    def __enter__(self) -> Self:
        self.user.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._commands:
            if one.is_running:
                one.signal(signal.SIGKILL)
        with suppress(OSError):  # its folder may be full, or gone
            self.stop_database()

    @property
    def settings(self) -> Settings:
        return from_environment({"CURATION_HOME": str(self.folder)})

    def curate(self, *words: object, code: int = 0, **environment: object) -> Command:
        """Run a command to its end, which must be the exit code that is expected."""
        done = self.start("curate", *words, **environment)
        assert done.wait() == code, f"curate {words}\n{done.out}\n{done.err}"
        return done

    def python(self, script: str, *words: object, **environment: object) -> str:
        """Run a script that must succeed, and return what it printed."""
        done = self.start("python", "-c", script, *words, **environment)
        assert done.wait() == 0, f"{script}\n{done.out}\n{done.err}"
        return done.out

    def start(self, program: str, *words: object, **environment: object) -> Command:
        """Start a program of this environment, without waiting."""
        log = self.user / f"log-{next(self._numbers)}"
        told = self._environment | {name: str(value) for name, value in environment.items()}
        with log.with_suffix(".out").open("w") as out, log.with_suffix(".err").open("w") as err:
            process = subprocess.Popen(
                [Path(sys.executable).with_name(program), *map(str, words)],
                cwd=self.user, env=told, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True,
            )  # fmt: skip
        command = Command(process, log)
        self._commands.append(command)
        return command

    def kill_database(self) -> None:
        """End our own mongod as a crash would."""
        pid = mongod.status(self.settings).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while mongod.status(self.settings).pid is not None:
            pass

    def stop_database(self) -> None:
        """Stop our own mongod; one that does not want to is killed."""
        try:
            mongod.stop(self.settings)
        except DatabaseError:
            self.kill_database()


@pytest.fixture(scope="session")
def new_home() -> Callable[[Path], Home]:
    """Return what makes a user's home in a folder."""
    return Home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A user's home of the test's own."""
    with Home(tmp_path / "user") as made:
        yield made
