"""Label Studio server and credentials, read from the environment.

| variable                                  | meaning                                             |
|-------------------------------------------|-----------------------------------------------------|
| `LABEL_STUDIO_URL`                        | address, such as `http://127.0.0.1:8080`            |
| `LABEL_STUDIO_API_KEY`                    | personal access token, or a legacy one; may also be |
|                                           | in a file or a vault, see `secrets`                 |
| `LABEL_STUDIO_RATE_LIMIT`                 | maximum requests per second; default: no limit      |
| `LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT`  | folder that it serves files from; by default the    |
|                                           | server is asked                                     |
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
        url: Address, without a trailing slash.
        token: Access token, never shown.
        rate_limit: Maximum requests per second; None for no limit.
        document_root: Folder that it serves files from; None to ask the server.
    """

    url: str
    token: str = field(repr=False)
    rate_limit: float | None = None
    document_root: Path | None = None


def token(environment: Mapping[str, str] | None = None) -> str:
    """Return the token; see `curation.secrets` for its possible sources.

    Raises:
        LabelingError: The token is not set.
    """
    try:
        return secrets.read(_SECRET, environment).reveal()
    except SettingsError as error:
        raise LabelingError(
            f"{error} Create one in Label Studio: Account & Settings, Personal Access Token."
        ) from error


def from_environment(environment: Mapping[str, str] | None = None) -> Server:
    """Return the server named by an environment, by default that of this process.

    Raises:
        LabelingError: A variable is missing or invalid.
    """
    variables = os.environ if environment is None else environment
    root = variables.get(DOCUMENT_ROOT)
    return Server(
        url=_parse_url(variables.get(URL, "").strip()),
        token=token(variables),
        rate_limit=_parse_rate_limit(variables.get(RATE_LIMIT, "").strip()),
        document_root=Path(root) if root else None,
    )


def _parse_url(text: str) -> str:
    if not text:
        raise LabelingError(
            f"{URL} is not set. Set it to the address of Label Studio: "
            f"`export {URL}=http://127.0.0.1:8080`."
        )
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise LabelingError(
            f"{URL} must contain an address only, without a name, a password or a token. "
            f"Put the token into {TOKEN}."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LabelingError(
            f"{URL} must begin with http:// or https:// and name a host, got {text!r}."
        )
    return text.rstrip("/")


def _parse_rate_limit(text: str) -> float | None:
    if not text:
        return None
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not (0 < limit < math.inf):
        raise LabelingError(
            f"{RATE_LIMIT} must be a positive number of requests per second, got {text!r}."
        )
    return limit
