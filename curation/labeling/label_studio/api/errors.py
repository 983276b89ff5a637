"""What goes wrong with a Label Studio server: each as one line that says what to do.

* LabelingError
  x UnsureError      it may have been done all the same
  x TooLargeError    send fewer at once
  x GoneError        not there, or not for this user
  x DeniedError      not allowed to this user
  x RefusedError     understood, and not taken as it is
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
_MOST_WORDS = 300  # letters of what a server says
_LONGEST_WAIT_S = 60.0


class UnsureError(LabelingError):
    """A request failed after it was sent: the server may have done what it asked for."""


class TooLargeError(LabelingError):
    """A request is larger than the server, or something before it, takes."""


class GoneError(LabelingError):
    """What was asked for is not there, or not for this user."""


class DeniedError(LabelingError):
    """This user may not do it."""


class RefusedError(LabelingError):
    """The server understood, and does not take it as it is."""


@dataclass(frozen=True)
class Failure:
    """Why a request failed.

    Attributes:
        status: Of the answer; None where there was none.
        words: What the server or the network said, shortened, without headers.
        is_undone: Whether the server surely has not done what was asked for.
        retry_after_s: What the server asks to wait.
    """

    status: int | None
    words: str
    is_undone: bool
    retry_after_s: float = 0.0

    @classmethod
    def of_answer(cls, status: int, headers: Mapping[str, str], body: Any) -> Failure:
        """Return what an answer means that is no success."""
        named = {name.lower(): value for name, value in headers.items()}
        return cls(
            status=status,
            words=_said(body),
            is_undone=status == 429,
            retry_after_s=_seconds(named.get("retry-after", "")),
        )

    @property
    def is_disk_full(self) -> bool:
        """Whether the server has no room left."""
        words = self.words.lower()
        return self.status == 507 or any(sign in words for sign in _NO_SPACE)

    @property
    def is_transient(self) -> bool:
        """Whether the same request may work later."""
        return not self.is_disk_full and (self.status is None or self.status in _TRANSIENT)


def unsure(url: str, what: str, failure: Failure) -> UnsureError:
    """Return the error of a request that may have been done, or not."""
    return UnsureError(
        f"Label Studio at {url} did not say whether it could {what}: {failure.words}."
    )


def explained(url: str, what: str, failure: Failure) -> LabelingError:
    """Return one line: what was tried, what came, and what to do."""
    where = f"Label Studio at {url}"
    status, words = failure.status, failure.words
    if failure.is_disk_full:
        return LabelingError(
            f"{where} could not {what}: its disk is full. Free it there, and repeat: "
            "nothing is done twice."
        )
    if status is None or status in (502, 503, 504):
        return LabelingError(
            f"{where} does not answer ({words}). Start it, or mend {URL}, and repeat: "
            "nothing is done twice."
        )
    if status == 401:
        return LabelingError(
            f"{where} does not accept the token in {TOKEN} (401). Create a personal access "
            "token there (Account & Settings), and set it."
        )
    if status == 403:
        return DeniedError(
            f"{where} does not let this user {what} (403: {words}). Ask its administrator "
            "for the right to change the project."
        )
    if status == 404:
        return GoneError(f"{where} could not {what}: it is not there, or not for this user (404).")
    if status == 413:
        return TooLargeError(f"{where} could not {what}: the request is too large (413).")
    if 300 <= status < 400:
        return LabelingError(f"{where} redirects ({status}). Set {URL} to where it leads.")
    kind = RefusedError if status == 400 else LabelingError
    return kind(f"{where} could not {what} ({status}: {words}).")


def _said(body: Any) -> str:
    """Return the reason in an answer, in at most a line."""
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
    return text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS]}..."


def _seconds(text: str) -> float:
    """Return a Retry-After header's seconds; 0 where it gives a date, or nothing."""
    return min(float(text), _LONGEST_WAIT_S) if text.isdecimal() else 0.0
