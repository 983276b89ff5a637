"""Which errors are expected, and the one line that each becomes."""

from __future__ import annotations

import errno
import sys

from cascade.errors import CascadeError
from curation.errors import CurationError
from curation.settings import from_environment

_ROOM, _RIGHTS = "Make room there", "Give write permission there"
_DISK = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: _RIGHTS,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.ENOTDIR: "Name a folder instead of a file",
}
_AGAIN = "then run the same command again: what was written before stays."


def explain(error: Exception) -> str | None:
    """Return what happened and what to do about it, one line; None where it is a bug of ours."""
    if isinstance(error, (CascadeError, CurationError)):
        return _one_line(error)
    if isinstance(error, OSError) and error.errno in _DISK:
        where = error.filename or f"A file below {from_environment().home}"
        return f"{where} cannot be written ({error.strerror}). {_DISK[error.errno]}, {_AGAIN}"
    if is_of_database(error):
        reason = _one_line(error).split(",")[0].split(" (configured")[0]
        return (
            f"The database does not answer any more ({type(error).__name__}: {reason}). Look at "
            f"its disk and at `curate db status`, {_AGAIN}"
        )
    return None


def is_of_database(error: BaseException) -> bool:
    """Return whether the MongoDB driver raised it, or what it was raised from."""
    driver = sys.modules.get("pymongo.errors")  # not imported: then nothing is of it
    return driver is not None and any(
        isinstance(one, driver.PyMongoError) for one in (error, error.__cause__)
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
