"""The page about what is in service: champion, challengers, verdicts; promotion and rollback."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from curation.app.panels import text as words
from curation.app.panels.components import (
    Action,
    Button,
    Buttons,
    Entry,
    Notice,
    Page,
    Piece,
    Table,
    Text,
)
from curation.errors import PublishError
from curation.secrets import without_password

if TYPE_CHECKING:
    from fiftyone import Dataset

    from curation.settings import Settings
    from curation.tracking import Version
    from curation.tracking.registry.promotion import Event, Promotions

PENDING, BY, WHY = "pending", "by", "why"  # state: what is to be confirmed; by whom, and why
ROLLBACK = "rollback"
_ANSWER_S = 2.0
_TRAIL = 12  # moves that are shown
_NOTHING = "Publish an ensemble: `curate round {name}`, or `curate publish {name}` after one."


@dataclass(frozen=True)
class Registered:
    """What the registry knows of a dataset's ensembles.

    Attributes:
        versions: All of them, newest first.
        events: Promotions and rollbacks, newest first.
    """

    versions: tuple[Version, ...]
    events: tuple[Event, ...]

    def of(self, alias: str) -> Version | None:
        """Return the version behind an alias."""
        return next((one for one in self.versions if alias in one.aliases), None)


def page(dataset: Dataset, settings: Settings, pending: str | None = None) -> Page:
    """Return the page of a dataset's ensembles.

    Args:
        dataset: The FiftyOne dataset.
        settings: Where the registry is.
        pending: What waits for confirmation: a version to promote, or `rollback:3`, to withdraw 3.
    """
    if not is_there(settings.tracking_uri):
        return Page.saying("Nothing is registered yet", _NOTHING.format(name=dataset.name))
    found = read(dataset.name, settings)
    if not found.versions:
        return Page.saying(
            f"No ensemble of {dataset.name!r} is registered", _NOTHING.format(name=dataset.name)
        )
    return Page.of(
        Text("head", _head(found)),
        *_confirming(found, pending),
        _versions(found),
        *_verdicts(found),
        _trail(found.events),
        Text("where", f"Registry: `{without_password(settings.tracking_uri)}`"),
    )


def is_there(tracking_uri: str) -> bool:
    """Return whether there is a registry to read; a server that is down is an error.

    Raises:
        PublishError: No server answers.
    """
    parts = urlsplit(tracking_uri)
    if parts.scheme not in ("http", "https"):
        path = tracking_uri.removeprefix("sqlite:///")
        return path == tracking_uri or Path(path).is_file()
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:  # MLflow's own client would try for minutes
        socket.create_connection((parts.hostname or "", port), _ANSWER_S).close()
    except OSError as error:
        raise PublishError(
            f"No MLflow answers at {without_password(tracking_uri)} ({error}). Start it, or mend "
            "MLFLOW_TRACKING_URI where the App was started."
        ) from error
    return True


def read(name: str, settings: Settings) -> Registered:
    """Return what the registry knows of a dataset's ensembles."""
    from curation.tracking import Registry
    from curation.tracking.registry.promotion import history

    registry = Registry.of(settings)
    return Registered(
        versions=tuple(reversed(registry.versions(name))),
        events=tuple(reversed(history(registry, name))),
    )


def move(name: str, settings: Settings, pending: str | None, *, by: str, why: str) -> str:
    """Do what was confirmed, in somebody's name; say what changed.

    Args:
        name: Of the registered model.
        settings: Where the registry is.
        pending: A version to promote, or `rollback:3`, to withdraw version 3.
        by: Who answers for it.
        why: In their words.

    Raises:
        PublishError: Nobody signs, the gate said otherwise, or there is nothing to go back to.
        LeaseError: Somebody else is moving something right now.
    """
    from curation.tracking.registry.promotion import promotions

    if not by.strip() or not why.strip():
        raise PublishError("Say who answers for it, and why: both are kept with the version.")
    if pending is None:
        raise PublishError("Nothing waits for confirmation: choose a version first.")
    with promotions(settings) as moving:
        kind, _, of = pending.partition(":")
        if kind == ROLLBACK:
            return moving.rollback(name, by=by, why=why, of=of).sentence
        return _promote(moving, name, pending, by=by, why=why)


def _promote(moving: Promotions, name: str, version: str, *, by: str, why: str) -> str:
    """Put a version into service where the gate says so."""
    known = {one.version: one.tags for one in moving.registry.versions(name)}
    tags = known.get(version, {})
    verdict = tags.get("verdict", "")
    if verdict != "promote":
        raise PublishError(
            f"The gate's verdict on version {version} is {verdict or 'none'}. To promote it all "
            f"the same: `curate promote {name} {version} --against-the-gate`."
        )
    over = tags.get("judged_against")
    return moving.promote(name, version, by=by, why=why, verdict=verdict, over=over).sentence


def version_of(dataset: Dataset, settings: Settings, row: int) -> str:
    """Return the version in a row of the table."""
    return read(dataset.name, settings).versions[row].version


def _head(found: Registered) -> str:
    champion, challenger = found.of("champion"), found.of("challenger")
    text = (
        f"**Version {champion.version} is in service**."
        if champion
        else "**Nothing is in service.**"
    )
    if challenger is not None:
        verdict = challenger.tags.get("verdict", "none")
        text += f" Version {challenger.version} is its challenger; the gate says: {_said(verdict)}."
    return text


def _confirming(found: Registered, pending: str | None) -> list[Piece]:
    """Return the buttons, or the question whether it is meant so."""
    champion = found.of("champion")
    if pending is None:
        waiting = _promotable(found)
        buttons = [
            Button("ask", f"Promote version {one.version} …", "upgrade", {PENDING: one.version})
            for one in waiting
        ]
        if champion is not None and champion.tags.get("replaced"):
            label = f"Roll back version {champion.version} …"
            buttons.append(
                Button("ask", label, "undo", {PENDING: f"{ROLLBACK}:{champion.version}"})
            )
        return [Buttons("moves", tuple(buttons))] if buttons else []
    kind, _, of = pending.partition(":")
    if kind == ROLLBACK:
        label = f"Withdraw version {of}?"
        what = f"Version {champion.tags.get('replaced') if champion else '?'} comes back."
        sure = "Yes, roll back"
    else:
        label = f"Put version {pending} into service?"
        what = f"It replaces version {champion.version if champion else 'none'}."
        sure = "Yes, promote"
    return [
        Notice("question", label, f"{what} Your name and reason are kept.", "warning"),
        Entry(BY, "Who answers for it"),
        Entry(WHY, "Why"),
        Buttons(
            "moves",
            (
                Button("confirm", sure, "check", main=True),
                Button("ask", "No, leave it", "close"),
            ),
        ),
    ]


def _promotable(found: Registered) -> list[Version]:
    """Return the versions that the gate would promote, judged against the champion."""
    champion = found.of("champion")
    return [
        one
        for one in found.versions
        if one is not champion
        and one.tags.get("verdict") == "promote"
        and champion is not None
        and one.tags.get("judged_against") == champion.version
    ]


def _versions(found: Registered) -> Table:
    rows = [
        {
            "version": one.version,
            "is": ", ".join(one.aliases)
            or ("withdrawn" if one.tags.get("withdrawn") == "true" else ""),
            "round": one.tags.get("round", words.UNKNOWN),
            "verdict": _said(one.tags.get("verdict", "")),
            "members": one.tags.get("members", words.UNKNOWN),
            "licence": one.tags.get("strictest_licence", words.UNKNOWN),
            "ensemble": one.ensemble[:12],
        }
        for one in found.versions
    ]
    headings = {
        "version": "version", "is": "is", "round": "round", "verdict": "verdict",
        "members": "members", "licence": "licence", "ensemble": "ensemble",
    }  # fmt: skip
    can = {one.version for one in _promotable(found)}
    mask = tuple(one.version in can for one in found.versions)
    actions = (Action("ask_row", "Promote …", "upgrade", mask),) if any(mask) else ()
    return Table("versions", "Versions", headings, rows, actions)


def _verdicts(found: Registered) -> list[Piece]:
    reasons = [
        f"**Version {one.version}**: {_said(one.tags['verdict'])}. {one.tags['reasons']}"
        for one in found.versions
        if one.tags.get("verdict") and one.tags.get("reasons")
    ]
    return [Text("verdicts", "\n\n".join(reasons))] if reasons else []


def _trail(events: Sequence[Event]) -> Table | None:
    if not events:
        return None
    rows: list[Mapping[str, Any]] = [
        {
            "at": one.at.replace("T", " ").partition("+")[0],
            "what": f"{one.kind}: {one.before or 'none'} → {one.after}",
            "by": one.by,
            "why": one.why if len(one.why) < 160 else one.why[:157] + "…",
        }
        for one in events[:_TRAIL]
    ]
    headings = {"at": "when (UTC)", "what": "what", "by": "by", "why": "why"}
    return Table("trail", "Promotions and rollbacks", headings, rows)


def _said(verdict: str) -> str:
    return {
        "promote": "promote",
        "keep": "keep the champion",
        "no_verdict": "no verdict",
        "bootstrap": "the first",
    }.get(verdict, words.UNKNOWN)
