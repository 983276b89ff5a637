"""Which Label Studio is meant, and who asks: read from the environment.

| variable                                  | meaning                                            |
|-------------------------------------------|----------------------------------------------------|
| `LABEL_STUDIO_URL`                        | where it answers, such as `http://127.0.0.1:8080`  |
| `LABEL_STUDIO_API_KEY`                    | a personal access token, or a legacy one; may lie  |
|                                           | in a file or a vault instead, see `secrets`        |
| `LABEL_STUDIO_RATE_LIMIT`                 | most requests a second; no limit where unset       |
| `LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT`  | the folder that it serves files from; asked of the |
|                                           | server where unset                                 |
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from curation import secrets
from curation.errors import LabelingError, SettingsError

URL = "LABEL_STUDIO_URL"
_SECRET = "label-studio-api-key"  # noqa: S105 - its name
TOKEN = secrets.variable(_SECRET)
RATE_LIMIT = "LABEL_STUDIO_RATE_LIMIT"
DOCUMENT_ROOT = "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"


@dataclass(frozen=True)
class Server:
    """A Label Studio server.

    Attributes:
        url: Where it answers, without a slash at its end.
        token: Who asks; never shown.
        rate_limit: Most requests a second; None for no limit.
        document_root: The folder that it serves files from; None where that is to be found out.
    """

    url: str
    token: str = field(repr=False)
    rate_limit: float | None = None
    document_root: Path | None = None


def token(environment: Mapping[str, str] | None = None) -> str:
    """Return the token: see `curation.secrets` for where it may lie.

    Raises:
        LabelingError: It is nowhere.
    """
    try:
        return secrets.read(_SECRET, environment).reveal()
    except SettingsError as error:
        raise LabelingError(
            f"{error} Label Studio makes one: Account & Settings, Personal Access Token."
        ) from error


def from_environment(environment: Mapping[str, str] | None = None) -> Server:
    """Return the server that an environment names; this process's own where none is given.

    Raises:
        LabelingError: A variable is missing, or cannot be meant so.
    """
    given = os.environ if environment is None else environment
    root = given.get(DOCUMENT_ROOT)
    return Server(
        url=_url(given.get(URL, "").strip()),
        token=token(given),
        rate_limit=_rate_limit(given.get(RATE_LIMIT, "").strip()),
        document_root=Path(root) if root else None,
    )


def _url(text: str) -> str:
    if not text:
        raise LabelingError(
            f"{URL} is not set. Set where Label Studio answers: "
            f"`export {URL}=http://127.0.0.1:8080`."
        )
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise LabelingError(
            f"{URL} must hold an address only, without a name, a password or a token in it. "
            f"Put the token into {TOKEN}."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LabelingError(
            f"{URL} must begin with http:// or https:// and name a host, got {text!r}."
        )
    return text.rstrip("/")


def _rate_limit(text: str) -> float | None:
    if not text:
        return None
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not (0 < limit < math.inf):
        raise LabelingError(f"{RATE_LIMIT} must be requests a second, above 0, got {text!r}.")
    return limit
