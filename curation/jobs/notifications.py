"""Telling somebody that a run is not as it should be: a webhook, an e-mail, always a log line.

A target is `https://...` (a JSON object is posted there), or `mailto:ada@example.org`; mail goes
to the server that `CURATION_SMTP` names, `smtp://host:port` or `smtps://user@host:port`, with the
secret `smtp-password`, which travels encrypted or not at all. An event that cannot be delivered
never fails the run: what became of each is put on its record.
"""

from __future__ import annotations

import logging
import os
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from email.message import EmailMessage
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from curation import secrets
from curation.errors import SettingsError
from curation.jobs.models import JobError

logger = logging.getLogger(__name__)

What = Literal["retry", "failed", "refused", "skipped", "missed", "recovered"]
_SERVER = "CURATION_SMTP"
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Event:
    """What happened.

    Attributes:
        event: In one word.
        job: Whose run.
        due: Which run: when it was due.
        attempt: After how many attempts.
        reason: Why, in a sentence.
        next_attempt: When it is tried again; None where it is not.
        result: What the run did, once it is done.
    """

    event: What
    job: str
    due: datetime
    attempt: int
    reason: str
    next_attempt: datetime | None = None
    result: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the event as plain JSON; times are ISO 8601, UTC."""
        content = asdict(self)
        for name in ("due", "next_attempt"):
            content[name] = content[name] and content[name].isoformat(timespec="seconds")
        return content

    @property
    def sentence(self) -> str:
        """The event as one line."""
        again = ""
        if self.next_attempt is not None:
            again = f" Next try at {self.next_attempt:%Y-%m-%d %H:%M:%S} UTC."
        due = f"{self.due:%Y-%m-%d %H:%M} UTC"
        return f"Job {self.job}, due {due}: {self.event}. {self.reason}{again}"


def check(target: str) -> None:
    """Refuse a target that nothing could be sent to.

    Raises:
        JobError: It is neither an http(s) address nor `mailto:`.
    """
    parts = urlsplit(target)
    mail = parts.scheme == "mailto" and "@" in parts.path
    if not mail and not (parts.scheme in ("http", "https") and parts.hostname):
        raise JobError(f"Who is told is https://... or mailto:ada@example.org, got {target!r}.")


def send(event: Event, targets: Sequence[str]) -> list[str]:
    """Tell everyone, and return what became of each; nothing is raised."""
    logger.log(logging.INFO if event.event == "recovered" else logging.WARNING, event.sentence)
    return [_delivered(event, target) for target in targets]


def _delivered(event: Event, target: str) -> str:
    where = urlsplit(target)
    shown = where.path if where.scheme == "mailto" else where.hostname or ""  # no token in it
    try:
        (_mail if where.scheme == "mailto" else _post)(event, target)
    except Exception as error:  # noqa: BLE001 - whoever cannot be told must not stop the night
        reason = f"{event.event} -> {shown}: not delivered ({type(error).__name__})"
        logger.warning("%s", reason)
        return reason
    return f"{event.event} -> {shown}: delivered"


def _post(event: Event, url: str) -> None:
    import httpx

    httpx.post(url, json=event.to_json(), timeout=_TIMEOUT_S).raise_for_status()


def _mail(event: Event, target: str) -> None:
    address = urlsplit(target).path
    server = urlsplit(os.environ.get(_SERVER, ""))
    if server.scheme not in ("smtp", "smtps") or not server.hostname:
        raise SettingsError(f"{_SERVER} must be smtp://host:port or smtps://user@host:port.")
    message = EmailMessage()
    message["Subject"] = f"[curation] {event.job}: {event.event}"
    message["From"] = f"curation@{server.hostname}"
    message["To"] = address
    message.set_content(event.sentence)
    with _connected(server.scheme, server.hostname, server.port or 0) as smtp:
        if server.username:
            if server.scheme == "smtp":
                smtp.starttls(context=ssl.create_default_context())
            smtp.login(unquote(server.username), secrets.read("smtp-password").reveal())
        smtp.send_message(message)


def _connected(scheme: str, host: str, port: int) -> smtplib.SMTP:
    if scheme == "smtp":
        return smtplib.SMTP(host, port, timeout=_TIMEOUT_S)
    checked = ssl.create_default_context()  # without it, smtplib believes any certificate
    return smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_S, context=checked)
