"""A database of the benchmark's own: whatever FiftyOne database the user has, it is left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def own_database(home: Path) -> Iterator[tuple[Any, str]]:
    """Give FiftyOne, which must not be imported yet, an empty database; return settings and URI.

    Args:
        home: Where our folder and the database are.
    """
    for name in [one for one in os.environ if one.startswith("FIFTYONE_")]:
        del os.environ[name]
    os.environ |= {
        "CURATION_HOME": str(home),
        "FIFTYONE_CONFIG_PATH": str(home / "none.json"),
        "FIFTYONE_DATABASE_VALIDATION": "false",
        "FIFTYONE_DO_NOT_TRACK": "true",
    }
    from curation.settings import from_environment
    from curation.storage.database import connection, mongod

    settings = from_environment()
    uri = mongod.start(settings)
    try:
        os.environ["FIFTYONE_DATABASE_URI"] = uri
        connection.connect(settings)
        yield settings, uri
    finally:
        mongod.stop(settings)
