"""Notifications about runs that need attention: webhooks, e-mails, and always a log line.

A target is `https://...`, which receives a JSON object, or `mailto:ada@example.org`. Mail is sent
through the server in `CURATION_SMTP`, `smtp://host:port` or `smtps://user@host:port`, with the
secret `smtp-password`, always over an encrypted connection. A failed delivery never fails the
run; delivery results are stored with the run.
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

EventKind = Literal["retry", "failed", "refused", "skipped", "missed", "recovered"]
_SERVER = "CURATION_SMTP"
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Event:
    """Event in the life of a run.

    Attributes:
        event: Kind of event.
        job: Name of the job.
        due: Due time of the run.
        attempt: Number of attempts so far.
        reason: Reason, as a sentence.
        next_attempt: Time of the next attempt; None if there is none.
        result: Result of a finished run.
    """

    event: EventKind
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
        retry = ""
        if self.next_attempt is not None:
            retry = f" Next attempt at {self.next_attempt:%Y-%m-%d %H:%M:%S} UTC."
        due = f"{self.due:%Y-%m-%d %H:%M} UTC"
        return f"Job {self.job}, due {due}: {self.event}. {self.reason}{retry}"


def validate_target(target: str) -> None:
    """Check that a target can receive notifications.

    Raises:
        JobError: The target is neither an HTTP(S) address nor `mailto:`.
    """
    parts = urlsplit(target)
    mail = parts.scheme == "mailto" and "@" in parts.path
    if not mail and not (parts.scheme in ("http", "https") and parts.hostname):
        raise JobError(
            f"A recipient must be https://... or mailto:ada@example.org, got {target!r}."
        )


def send(event: Event, targets: Sequence[str]) -> list[str]:
    """Send an event to all targets; return the delivery results. Never raises."""
    logger.log(logging.INFO if event.event == "recovered" else logging.WARNING, event.sentence)
    return [_deliver(event, target) for target in targets]


def _deliver(event: Event, target: str) -> str:
    parts = urlsplit(target)
    shown = parts.path if parts.scheme == "mailto" else parts.hostname or ""  # without tokens
    try:
        (_mail if parts.scheme == "mailto" else _post)(event, target)
    except Exception as error:  # noqa: BLE001 - a failed delivery must not stop the run
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
    with _connect(server.scheme, server.hostname, server.port or 0) as smtp:
        if server.username:
            if server.scheme == "smtp":
                smtp.starttls(context=ssl.create_default_context())
            smtp.login(unquote(server.username), secrets.read("smtp-password").reveal())
        smtp.send_message(message)


def _connect(scheme: str, host: str, port: int) -> smtplib.SMTP:
    if scheme == "smtp":
        return smtplib.SMTP(host, port, timeout=_TIMEOUT_S)
    context = ssl.create_default_context()  # by default, smtplib accepts any certificate
    return smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_S, context=context)
