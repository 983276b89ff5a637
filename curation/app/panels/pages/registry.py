"""Page of the registry panel: champion, challengers and verdicts; promotion and rollback."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from curation.app.panels.components import (
    Action,
    Button,
    Buttons,
    Component,
    Notice,
    Page,
    Table,
    Text,
    TextInput,
)
from curation.errors import PublishError
from curation.formatting import UNKNOWN
from curation.secrets import without_password

if TYPE_CHECKING:
    from fiftyone import Dataset

    from curation.settings import Settings
    from curation.tracking import Version
    from curation.tracking.registry.promotion import Event

PENDING, BY, WHY = "pending", "by", "why"  # state: move to confirm; author and reason
ROLLBACK = "rollback"
_TIMEOUT_S = 2.0
_MAX_EVENTS = 12
_MAX_REASON = 160  # characters
_VERDICTS = {
    "promote": "promote",
    "keep": "keep the champion",
    "no_verdict": "no verdict",
    "bootstrap": "first version",
}


@dataclass(frozen=True)
class RegisteredVersions:
    """Registered ensembles of a dataset.

    Attributes:
        versions: All versions, newest first.
        events: Promotions and rollbacks, newest first.
    """

    versions: tuple[Version, ...]
    events: tuple[Event, ...]

    def find(self, alias: str) -> Version | None:
        """Return the version with an alias."""
        return next((version for version in self.versions if alias in version.aliases), None)

    @property
    def promotable(self) -> list[Version]:
        """Versions with the verdict `promote`, judged against the current champion."""
        champion = self.find("champion")
        if champion is None:
            return []
        return [
            version
            for version in self.versions
            if version is not champion
            and version.tags.get("verdict") == "promote"
            and version.tags.get("judged_against") == champion.version
        ]


def build_page(dataset: Dataset, settings: Settings, pending: str | None = None) -> Page:
    """Return the page of a dataset's ensembles.

    Args:
        dataset: A FiftyOne dataset.
        settings: Settings with the registry's address.
        pending: Move to confirm: a version to promote, or `rollback:3` to withdraw version 3.
    """
    registered = None
    if registry_exists(settings.tracking_uri):
        registered = read_versions(dataset.name, settings)
    if registered is None or not registered.versions:
        return Page.message(
            f"No ensemble of {dataset.name!r} is registered",
            f"Publish an ensemble: `curate round {dataset.name}`, or `curate publish "
            f"{dataset.name}` after a round.",
        )
    return Page.of(
        Text("head", _head(registered)),
        *(_moves(registered) if pending is None else _confirmation(registered, pending)),
        _versions(registered),
        _verdicts(registered),
        _history(registered.events),
        Text("where", f"Registry: `{without_password(settings.tracking_uri)}`"),
    )


def registry_exists(tracking_uri: str) -> bool:
    """Return whether there is a registry to read.

    Raises:
        PublishError: The URI names a server that does not answer.
    """
    parts = urlsplit(tracking_uri)
    if parts.scheme not in ("http", "https"):
        path = tracking_uri.removeprefix("sqlite:///")
        return path == tracking_uri or Path(path).is_file()
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:  # MLflow's own client would retry for minutes
        socket.create_connection((parts.hostname or "", port), _TIMEOUT_S).close()
    except OSError as error:
        raise PublishError(
            f"No MLflow server answers at {without_password(tracking_uri)} ({error}). Start it, or "
            "correct MLFLOW_TRACKING_URI in the environment of the App's server."
        ) from error
    return True


def read_versions(name: str, settings: Settings) -> RegisteredVersions:
    """Return the registered ensembles of a dataset."""
    from curation.tracking import Registry
    from curation.tracking.registry.promotion import history

    registry = Registry.from_settings(settings)
    return RegisteredVersions(
        versions=tuple(reversed(registry.versions(name))),
        events=tuple(reversed(history(registry, name))),
    )


def move(name: str, settings: Settings, pending: str | None, *, by: str, why: str) -> str:
    """Carry out the confirmed promotion or rollback, and return it as a sentence.

    Args:
        name: Name of the registered model.
        settings: Settings with the registry's address.
        pending: A version to promote, or `rollback:3` to withdraw version 3.
        by: Name of the person responsible.
        why: Their reason.

    Raises:
        PublishError: Name or reason is missing, the gate has another verdict, or no earlier
            version exists.
        LeaseError: Another move is in progress.
    """
    from curation.tracking.registry.promotion import open_promotions

    if not by.strip() or not why.strip():
        raise PublishError("Enter your name and a reason: both are recorded with the version.")
    if pending is None:
        raise PublishError("No move to confirm: select a version first.")
    with open_promotions(settings) as moves:
        kind, _, version = pending.partition(":")
        if kind == ROLLBACK:
            return moves.rollback(name, by=by, why=why, of=version).sentence
        return moves.promote_judged(name, pending, by=by, why=why).sentence


def version_of_row(dataset: Dataset, settings: Settings, row: int) -> str:
    """Return the version in a row of the table."""
    return read_versions(dataset.name, settings).versions[row].version


def _head(registered: RegisteredVersions) -> str:
    champion, challenger = registered.find("champion"), registered.find("challenger")
    text = f"Version {champion.version}" if champion else "No version"
    text = f"**{text} is in service.**"
    if challenger is not None:
        verdict = _VERDICTS.get(challenger.tags.get("verdict", ""), "none")
        text += f" Version {challenger.version} is the challenger; the gate's verdict: {verdict}."
    return text


def _moves(registered: RegisteredVersions) -> list[Component]:
    """Return buttons for the possible promotions and rollbacks."""
    buttons = [
        Button("ask", f"Promote version {entry.version} …", "upgrade", {PENDING: entry.version})
        for entry in registered.promotable
    ]
    champion = registered.find("champion")
    if champion is not None and champion.tags.get("replaced"):
        label = f"Roll back version {champion.version} …"
        params = {PENDING: f"{ROLLBACK}:{champion.version}"}
        buttons.append(Button("ask", label, "undo", params))
    return [Buttons("moves", tuple(buttons))] if buttons else []


def _confirmation(registered: RegisteredVersions, pending: str) -> list[Component]:
    """Return the question to confirm a move."""
    champion = registered.find("champion")
    kind, _, version = pending.partition(":")
    if kind == ROLLBACK:
        label = f"Withdraw version {version}?"
        previous = champion.tags.get("replaced") if champion else "?"
        effect, confirm = f"Version {previous} returns to service.", "Yes, roll back"
    else:
        label = f"Put version {pending} into service?"
        current = champion.version if champion else "none"
        effect, confirm = f"It replaces version {current}.", "Yes, promote"
    buttons = (Button("confirm", confirm, "check", primary=True), Button("ask", "Cancel", "close"))
    return [
        Notice("question", label, f"{effect} Your name and reason are recorded.", "warning"),
        TextInput(BY, "Your name"),
        TextInput(WHY, "Reason"),
        Buttons("moves", buttons),
    ]


def _versions(registered: RegisteredVersions) -> Table:
    rows = [
        {
            "version": entry.version,
            "alias": ", ".join(entry.aliases)
            or ("withdrawn" if entry.tags.get("withdrawn") == "true" else ""),
            "round": entry.tags.get("round", UNKNOWN),
            "verdict": _VERDICTS.get(entry.tags.get("verdict", ""), UNKNOWN),
            "members": entry.tags.get("members", UNKNOWN),
            "license": entry.tags.get("strictest_licence", UNKNOWN),
            "ensemble": entry.ensemble[:12],
        }
        for entry in registered.versions
    ]
    promotable = {entry.version for entry in registered.promotable}
    mask = tuple(entry.version in promotable for entry in registered.versions)
    actions = (Action("ask_row", "Promote …", "upgrade", mask),) if any(mask) else ()
    return Table("versions", "Versions", {key: key for key in rows[0]}, rows, actions)


def _verdicts(registered: RegisteredVersions) -> Text | None:
    reasons = [
        f"**Version {entry.version}**: {_VERDICTS.get(entry.tags['verdict'], UNKNOWN)}. "
        f"{entry.tags['reasons']}"
        for entry in registered.versions
        if entry.tags.get("verdict") and entry.tags.get("reasons")
    ]
    return Text("verdicts", "\n\n".join(reasons)) if reasons else None


def _history(events: Sequence[Event]) -> Table | None:
    if not events:
        return None
    rows: list[Mapping[str, Any]] = [
        {
            "at": event.at.replace("T", " ").partition("+")[0],
            "what": f"{event.kind}: {event.before or 'none'} → {event.after}",
            "by": event.by,
            "why": event.why
            if len(event.why) < _MAX_REASON
            else event.why[: _MAX_REASON - 3] + "…",
        }
        for event in events[:_MAX_EVENTS]
    ]
    headings = {"at": "time (UTC)", "what": "move", "by": "author", "why": "reason"}
    return Table("trail", "Promotions and rollbacks", headings, rows)
