"""Choice of FiftyOne's MongoDB: an existing one, or our own, started on demand.

`connect` runs before FiftyOne is imported and decides for the process. It uses the first of

1. the database of FiftyOne, if this process has imported it (plugins, notebooks);
2. `FIFTYONE_DATABASE_URI`, if set;
3. our database, if it holds the requested dataset;
4. the user's FiftyOne database, if it exists: a user of plain FiftyOne keeps all datasets in one
   place. FiftyOne starts it as usual;
5. our database, newly created.

FiftyOne's own service attaches to any FiftyOne database that runs on the machine, regardless of the
configured folder, and two projects silently share one. It never finds ours: see `mongod.py`.
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
    local_uri,
    open_client,
    recorded_port,
    start,
    status,
    stop,
)

__all__ = ["Connection", "Owner", "Status", "connect", "start", "status", "stop"]

logger = logging.getLogger(__name__)

Owner = Literal["environment", "current process", "user's FiftyOne", "ours"]

_DATA_FILE = "WiredTiger"  # exists in every data folder of mongod


@dataclass(frozen=True)
class Connection:
    """The database of FiftyOne in this process.

    Attributes:
        uri: Address of the MongoDB.
        owner: Owner of the server.
    """

    uri: str
    owner: Owner


def connect(settings: Settings, *, dataset: str | None = None) -> Connection:
    """Choose the database, start our own if chosen, and configure FiftyOne.

    Sets environment variables of this process, which its children inherit. Idempotent.

    Args:
        settings: Settings with our folder and the configured address, if any.
        dataset: Name of the dataset to use; it decides if two databases exist.

    Raises:
        DatabaseError: The database does not answer or cannot be started.
    """
    _prepare_environment()
    connection = _choose(settings, dataset)
    logger.debug("Using the database at %s (%s).", connection.uri, connection.owner)
    return connection


def _choose(settings: Settings, dataset: str | None) -> Connection:
    if "fiftyone" in sys.modules:
        return _current_connection(settings)
    configured = settings.database_uri or os.environ.get("FIFTYONE_DATABASE_URI")
    if configured:
        return _connect_to(settings, configured)
    if (settings.database_folder / _DATA_FILE).is_file():
        uri = start(settings)
        if dataset is None or _holds(uri, dataset):
            return _connect_to_ours(uri)
    location = _find_users_database()
    if isinstance(location, str):
        return _connect_to(settings, location, owner="user's FiftyOne")
    if location is not None:
        return Connection(_connect_fiftyone(location), "user's FiftyOne")
    return _connect_to_ours(start(settings))


def _current_connection(settings: Settings) -> Connection:
    """Return the connection of the imported FiftyOne, which reads its address only once."""
    import fiftyone as fo

    if fo.config.database_uri is not None:
        return _connect_to(settings, fo.config.database_uri, owner="current process")
    return Connection(_connect_fiftyone(), "current process")


def _connect_to(settings: Settings, uri: str, owner: Owner = "environment") -> Connection:
    """Return the connection to an address; start the server if the address is our own."""
    port = recorded_port(settings.database_folder)
    if port is not None and uri == local_uri(port):
        return _connect_to_ours(start(settings))
    if not _answers(uri):
        raise DatabaseError(
            f"No MongoDB answers at {without_password(uri)} within {ANSWER_S:.0f} s. Start it, "
            "or unset FIFTYONE_DATABASE_URI (and `database_uri` in FiftyOne's configuration) "
            "to use our own."
        )
    os.environ["FIFTYONE_DATABASE_URI"] = uri
    return Connection(uri, owner)


def _connect_to_ours(uri: str) -> Connection:
    os.environ["FIFTYONE_DATABASE_URI"] = uri
    return Connection(uri, "ours")


def _find_users_database() -> str | Path | None:
    """Return the address or folder of the user's FiftyOne database, or None."""
    file = Path(os.environ.get("FIFTYONE_CONFIG_PATH") or "~/.fiftyone/config.json").expanduser()
    config: dict[str, Any] = {}
    if file.is_file():
        try:
            config = json.loads(file.read_text())
        except ValueError as error:
            raise DatabaseError(f"{file} is not valid JSON: {error}. Fix or remove it.") from error
    if config.get("database_uri"):
        return str(config["database_uri"])
    folder = os.environ.get("FIFTYONE_DATABASE_DIR") or config.get("database_dir")
    path = Path(folder or "~/.fiftyone/var/lib/mongo").expanduser()
    return path if (path / _DATA_FILE).is_file() else None


def _connect_fiftyone(folder: Path | None = None) -> str:
    """Import FiftyOne, connect with its own service, and return the address."""
    import fiftyone as fo

    try:
        fo.list_datasets()
    except Exception as error:
        location = f" in {folder}" if folder else ""
        raise DatabaseError(
            f"FiftyOne cannot reach its database{location} ({type(error).__name__}: {error}). "
            "See its log `log/mongo.log` in that folder. To use our database instead, run "
            "`curate db start` and set FIFTYONE_DATABASE_URI to the printed address."
        ) from error
    if fo.config.database_uri is not None:
        return str(fo.config.database_uri)
    return local_uri(int(os.environ["FIFTYONE_PRIVATE_DATABASE_PORT"]))


def _prepare_environment() -> None:
    silence_telemetry()
    os.environ.setdefault("FIFTYONE_DATABASE_NAME", "fiftyone")
    # The packaged mongod is older than FiftyOne expects, which would warn at each import.
    os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")


def _answers(uri: str) -> bool:
    from pymongo.errors import PyMongoError

    try:
        with open_client(uri) as client:
            client.admin.command("ping")
    except PyMongoError as error:
        logger.debug("No answer: %s", error)
        return False
    return True


def _holds(uri: str, dataset: str) -> bool:
    name = os.environ["FIFTYONE_DATABASE_NAME"]
    with open_client(uri) as client:
        return client[name]["datasets"].find_one({"name": dataset}, {"_id": 1}) is not None
