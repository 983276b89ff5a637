"""Errors of a Label Studio server, each one line that says what to do.

* LabelingError
  x UnknownOutcomeError    the request may have been processed
  x TooLargeError          the request must be split
  x NotFoundError          missing, or not visible to this user
  x PermissionDeniedError  not allowed for this user
  x BadRequestError        understood but rejected
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curation.errors import LabelingError
from curation.labeling.label_studio.api.settings import TOKEN, URL

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_NO_SPACE = ("no space left", "disk is full", "disk full", "errno 28", "insufficient storage")
_MAX_MESSAGE = 300  # characters of a server's message
_MAX_DELAY_S = 60.0


class UnknownOutcomeError(LabelingError):
    """A request failed after it was sent: the server may have processed it."""


class TooLargeError(LabelingError):
    """A request is larger than the server, or a proxy in front of it, accepts."""


class NotFoundError(LabelingError):
    """The requested object does not exist, or is not visible to this user."""


class PermissionDeniedError(LabelingError):
    """This user may not do it."""


class BadRequestError(LabelingError):
    """The server understood the request and rejected it."""


_ERRORS: Mapping[int | None, type[LabelingError]] = {
    400: BadRequestError,
    403: PermissionDeniedError,
    404: NotFoundError,
    413: TooLargeError,
}
_SAFE = "the operation is idempotent"


@dataclass(frozen=True)
class Failure:
    """Reason for a failed request.

    Attributes:
        status: Status code of the response; None if there is no response.
        message: Message of the server or the network, shortened, without headers.
        is_unprocessed: Whether the server certainly did not process the request.
        retry_after_s: Delay that the server asks for.
    """

    status: int | None
    message: str
    is_unprocessed: bool
    retry_after_s: float = 0.0

    @classmethod
    def from_response(cls, status: int, headers: Mapping[str, str], body: Any) -> Failure:
        """Return the failure behind an unsuccessful response."""
        lower = {name.lower(): value for name, value in headers.items()}
        return cls(
            status=status,
            message=_message(body),
            is_unprocessed=status == 429,
            retry_after_s=_parse_delay(lower.get("retry-after", "")),
        )

    @property
    def is_disk_full(self) -> bool:
        """Whether the server's disk is full."""
        message = self.message.lower()
        return self.status == 507 or any(phrase in message for phrase in _NO_SPACE)

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later."""
        return not self.is_disk_full and (self.status is None or self.status in _TRANSIENT)


def unknown_outcome(url: str, action: str, failure: Failure) -> UnknownOutcomeError:
    """Return the error of a request that may have been processed."""
    return UnknownOutcomeError(
        f"Label Studio at {url} did not confirm whether it could {action}: {failure.message}."
    )


def to_error(url: str, action: str, failure: Failure) -> LabelingError:
    """Return an error with one line: what failed, why, and what to do."""
    status, message = failure.status, failure.message
    kind = LabelingError if failure.is_disk_full else _ERRORS.get(status, LabelingError)
    text = f"could not {action} ({status}: {message})."
    if failure.is_disk_full:
        text = f"could not {action}: its disk is full. Free disk space there, and repeat: {_SAFE}."
    elif status is None or status in (502, 503, 504):
        text = f"does not answer ({message}). Start it, or correct {URL}, and repeat: {_SAFE}."
    elif status == 401:
        text = (
            f"does not accept the token in {TOKEN} (401). Create a personal access token there "
            "(Account & Settings), and set it."
        )
    elif status == 403:
        text = (
            f"does not let this user {action} (403: {message}). Ask its administrator for "
            "permission to change the project."
        )
    elif status == 404:
        text = f"could not {action}: it does not exist, or is not visible to this user (404)."
    elif status == 413:
        text = f"could not {action}: the request is too large (413)."
    elif 300 <= status < 400:
        text = f"redirects ({status}). Set {URL} to the target address."
    return kind(f"Label Studio at {url} {text}")


def _message(body: Any) -> str:
    """Return the reason in a response, in at most one line."""
    content = body
    if isinstance(body, str):
        try:
            content = json.loads(body)
        except json.JSONDecodeError:
            content = body.strip()
    if isinstance(content, Mapping):
        reasons = content.get("validation_errors") or content.get("detail") or content
        content = reasons if isinstance(reasons, str) else json.dumps(reasons, ensure_ascii=False)
    text = " ".join(str(content).split())
    if text.startswith("<"):
        text = "a page of HTML"
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}..."


def _parse_delay(text: str) -> float:
    """Return the seconds of a Retry-After header; 0 for a date or nothing."""
    return min(float(text), _MAX_DELAY_S) if text.isdecimal() else 0.0
