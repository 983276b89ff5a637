"""One-line messages for expected errors."""

from __future__ import annotations

import errno
import sys

from cascade.errors import CascadeError
from curation.errors import CurationError
from curation.settings import from_environment

_FREE_SPACE, _GRANT_ACCESS = "Free some space there", "Grant write permission there"
_DISK_ADVICE = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EROFS: _GRANT_ACCESS,
    errno.EACCES: _GRANT_ACCESS,
    errno.EPERM: _GRANT_ACCESS,
    errno.ENOTDIR: "Name a folder instead of a file",
}
_RUN_AGAIN = "then run the same command again. Everything written so far is kept."


def explain(error: Exception) -> str | None:
    """Return one line with the problem and the remedy; None for an unexpected error."""
    if isinstance(error, (CascadeError, CurationError)):
        return _one_line(error)
    if isinstance(error, OSError) and error.errno in _DISK_ADVICE:
        path = error.filename or f"a file below {from_environment().home}"
        return f"Cannot write {path} ({error.strerror}). {_DISK_ADVICE[error.errno]}, {_RUN_AGAIN}"
    if is_database_error(error):
        reason = _one_line(error).split(",")[0].split(" (configured")[0]
        return (
            f"The database no longer answers ({type(error).__name__}: {reason}). Check "
            f"its disk and `curate db status`, {_RUN_AGAIN}"
        )
    return None


def is_database_error(error: BaseException) -> bool:
    """Return whether the MongoDB driver raised the error or its direct cause."""
    driver = sys.modules.get("pymongo.errors")  # not imported: it cannot have raised anything
    return driver is not None and any(
        isinstance(candidate, driver.PyMongoError) for candidate in (error, error.__cause__)
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
