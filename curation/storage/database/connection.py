"""The MongoDB that FiftyOne works in: found, or ours, started on demand.

`connect` runs before FiftyOne is imported, and decides for the process. It takes the first of

1. where FiftyOne works already, when this process has imported it (plugins, notebooks);
2. `FIFTYONE_DATABASE_URI`, when it is set;
3. ours, when it holds the dataset that is asked for;
4. the user's own FiftyOne database, when there is one: a user of plain FiftyOne finds our
   work beside their datasets. FiftyOne starts it, as it always does;
5. ours, from the start.

FiftyOne's usual service attaches to any FiftyOne database that runs on the machine, whatever
folder was asked for, so that two projects silently share one. Ours is never found by it: see
`mongod.py`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from curation.errors import DatabaseError
from curation.secrets import without_password
from curation.settings import Settings, silence_telemetry
from curation.storage.database.mongod import (
    ANSWER_S,
    Status,
    client_of,
    recorded_port,
    start,
    status,
    stop,
    uri_of,
)

__all__ = ["Connection", "Owner", "Status", "connect", "start", "status", "stop"]

logger = logging.getLogger(__name__)

Owner = Literal["environment", "current process", "user's FiftyOne", "ours"]

_DATA_FILE = "WiredTiger"  # is in every folder that a mongod has kept data in


@dataclass(frozen=True)
class Connection:
    """Where FiftyOne works from now on.

    Attributes:
        uri: The MongoDB.
        owner: Who runs it.
    """

    uri: str
    owner: Owner


def connect(settings: Settings, *, dataset: str | None = None) -> Connection:
    """Decide on the database, start it where it is ours, and tell FiftyOne.

    Sets environment variables of this process, which its children inherit. May be repeated.

    Args:
        settings: Where our folder is, and the address that was given, if any.
        dataset: The dataset that will be worked on; decides where two databases exist.

    Raises:
        DatabaseError: The database does not answer, or cannot be started; says what to do.
    """
    _prepare_environment()
    connection = _decide(settings, dataset)
    logger.debug("Working in the database at %s (%s).", connection.uri, connection.owner)
    return connection


def _decide(settings: Settings, dataset: str | None) -> Connection:
    if "fiftyone" in sys.modules:
        return _of_this_process(settings)
    given = settings.database_uri or os.environ.get("FIFTYONE_DATABASE_URI")
    if given:
        return _given(settings, given)
    if (settings.database_folder / _DATA_FILE).is_file():
        uri = start(settings)
        if dataset is None or _holds(uri, dataset):
            return _ours(uri)
    theirs = _users_database()
    if isinstance(theirs, str):
        return _given(settings, theirs, owner="user's FiftyOne")
    if theirs is not None:
        return Connection(_connect_fiftyone(theirs), "user's FiftyOne")
    return _ours(start(settings))


def _of_this_process(settings: Settings) -> Connection:
    """Return where FiftyOne, imported already, works: it reads its address only once."""
    import fiftyone as fo

    if fo.config.database_uri is not None:
        return _given(settings, fo.config.database_uri, owner="current process")
    return Connection(_connect_fiftyone(), "current process")


def _given(settings: Settings, uri: str, owner: Owner = "environment") -> Connection:
    """Return the connection to an address; where it is our own, see that it runs."""
    port = recorded_port(settings.database_folder)
    if port is not None and uri == uri_of(port):
        return _ours(start(settings))
    if not _answers(uri):
        raise DatabaseError(
            f"No MongoDB answers at {without_password(uri)} within {ANSWER_S:.0f} s. Start it, "
            "or unset FIFTYONE_DATABASE_URI (and `database_uri` in FiftyOne's configuration) "
            "to use our own."
        )
    os.environ["FIFTYONE_DATABASE_URI"] = uri
    return Connection(uri, owner)


def _ours(uri: str) -> Connection:
    os.environ["FIFTYONE_DATABASE_URI"] = uri
    return Connection(uri, "ours")


def _users_database() -> str | Path | None:
    """Return the address or folder of the user's own FiftyOne database, or None."""
    file = Path(os.environ.get("FIFTYONE_CONFIG_PATH") or "~/.fiftyone/config.json").expanduser()
    config: dict[str, Any] = {}
    if file.is_file():
        try:
            config = json.loads(file.read_text())
        except ValueError as error:
            raise DatabaseError(f"FiftyOne's configuration {file} is no JSON: {error}.") from error
    if config.get("database_uri"):
        return str(config["database_uri"])
    folder = os.environ.get("FIFTYONE_DATABASE_DIR") or config.get("database_dir")
    path = Path(folder or "~/.fiftyone/var/lib/mongo").expanduser()
    return path if (path / _DATA_FILE).is_file() else None


def _connect_fiftyone(folder: Path | None = None) -> str:
    """Import FiftyOne, have it connect in its own way, and return the address."""
    import fiftyone as fo

    try:
        fo.list_datasets()
    except Exception as error:
        where = f" in {folder}" if folder else ""
        raise DatabaseError(
            f"FiftyOne did not reach its own database{where} ({type(error).__name__}: {error}). "
            "Its log lies in `log/mongo.log` there. To work in a database of ours instead, run "
            "`curate db start` and set FIFTYONE_DATABASE_URI to the address that it prints."
        ) from error
    if fo.config.database_uri is not None:
        return str(fo.config.database_uri)
    return uri_of(int(os.environ["FIFTYONE_PRIVATE_DATABASE_PORT"]))


def _prepare_environment() -> None:
    silence_telemetry()
    os.environ.setdefault("FIFTYONE_DATABASE_NAME", "fiftyone")
    # The packaged mongod is older than FiftyOne likes; without this it says so at each import.
    os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")


def _answers(uri: str) -> bool:
    from pymongo.errors import PyMongoError

    try:
        with client_of(uri) as client:
            client.admin.command("ping")
    except PyMongoError as error:
        logger.debug("No answer: %s", error)
        return False
    return True


def _holds(uri: str, dataset: str) -> bool:
    name = os.environ["FIFTYONE_DATABASE_NAME"]
    with client_of(uri) as client:
        return client[name]["datasets"].find_one({"name": dataset}, {"_id": 1}) is not None
