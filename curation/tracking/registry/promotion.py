"""Promotion and rollback: one at a time, and finished even where the process was killed.

MLflow moves one alias at a time, and has no way to say "only if it still is". So

1. a lease in the database lets one process at a time move anything;
2. what a move changes is written into the database before the first alias moves;
3. whoever comes next does what was cut off to its end, before anything of their own.

The version is checked before it is put on record, and `champion` moves in one step: at any
moment it names a whole version that can be loaded. The lease and the record lie in the database
of the datasets; those who share a registry must share that, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from curation.errors import PublishError
from curation.secrets import without_password
from curation.storage.database import lease
from curation.tracking.client import model_name
from curation.tracking.registry import alias_moves
from curation.tracking.registry.alias_moves import WITHDRAWN, Kind, Move, Signature
from curation.tracking.registry.journal import Entry, Journal
from curation.tracking.registry.versions import Registry

if TYPE_CHECKING:
    from curation.settings import Settings
    from curation.storage.database.lease import Lease

At = Callable[[str], None]
AUDIT = "audit."  # begins the tags of the audit trail; the move's time and number follow

_HELD_S = 30.0  # between two steps; a check of all files renews it before and after
_WAIT_S = 10.0  # for another's move, where waiting is better than being refused


@dataclass(frozen=True)
class Moved:
    """What became of a promotion or a rollback.

    Attributes:
        kind: Which of them.
        before: The champion before.
        champion: The version in service now.
        changed: Whether anything moved; False where it had been done already.
        sentence: All of that in words.
    """

    kind: Kind
    before: str | None
    champion: str
    changed: bool
    sentence: str


@dataclass(frozen=True)
class Event:
    """One line of the audit trail.

    Attributes:
        number: Grows with every move, as long as the database is the same.
        kind: `promote` or `rollback`.
        before: The champion before; None at the first promotion.
        after: The champion from then on.
        by: Who.
        why: In their words.
        at: When, ISO 8601, UTC.
    """

    number: int
    kind: str
    before: str | None
    after: str
    by: str
    why: str
    at: str


class Promotions:
    """Moves what is in service.

    Args:
        registry: The versions.
        database: A MongoDB database (of pymongo) for the lease and the record.
        at: Told the name of each step when it is done; a test ends the process there.
    """

    def __init__(self, registry: Registry, database: Any, *, at: At = lambda step: None) -> None:
        self.registry, self._database, self._at = registry, database, at

    def promote(
        self,
        name: str,
        version: str,
        *,
        by: str,
        why: str,
        verdict: str = "promote",
        over: str | None = None,
    ) -> Moved:
        """Put a version into service, and remember which one it replaced.

        Args:
            name: Of the registered model.
            version: What becomes champion.
            by: Who says so.
            why: In their words.
            verdict: Of the gate, in a word: noted with the version.
            over: The champion that it was judged against; where that is champion no longer,
                the promotion is refused. None for any.

        Raises:
            PublishError: The version is not whole, or another champion came in between.
            LeaseError: Somebody else is moving something right now.
        """
        with self._alone(name, by, wait_s=0.0) as (held, journal):
            self._finish(name, held, journal)
            aliases = self.registry.aliases(name)
            champion = aliases.get("champion")
            if champion == version:
                return _same("promote", version, f"Version {version} is champion already.")
            if over is not None and champion != over:
                raise PublishError(
                    f"Version {version} of {name!r} was judged against version {over}, but "
                    f"version {champion} is champion since. Evaluate and publish again."
                )
            self.registry.expect_untouched(name, version)
            signature = Signature(by, why, _now())
            move = alias_moves.promotion(
                version, aliases=aliases, verdict=verdict, signature=signature
            )
            self._do(name, move, held, journal)
        before = f"it replaces version {champion}" if champion else "it is the first"
        sentence = f"Version {version} is champion: {before}."
        return Moved("promote", champion, version, changed=True, sentence=sentence)

    def promote_judged(
        self, name: str, asked: str, *, by: str, why: str, against_the_gate: bool = False
    ) -> Moved:
        """Put a version into service that the gate has passed, or, if you insist, any other.

        Args:
            name: Of the registered model.
            asked: A version's number, or an alias.
            by: Who answers for it.
            why: In their words; kept, and marked where it was against the gate.
            against_the_gate: Also where the gate did not say so, or judged it against an old
                champion.

        Raises:
            PublishError: The gate did not say so, or `promote` refuses.
            LeaseError: Somebody else is moving something right now.
        """
        chosen = self.registry.version(name, asked)
        verdict = chosen.tags.get("verdict", "")
        if verdict != "promote" and not against_the_gate:
            raise PublishError(
                f"The gate's verdict on version {chosen.version} is {verdict or 'none'}: "
                f"{chosen.tags.get('reasons') or 'it was not judged.'} To promote it all the same, "
                "say --against-the-gate (`against_the_gate=True`); that is kept with your name."
            )
        return self.promote(
            name,
            chosen.version,
            by=by,
            why=f"Against the gate: {why}" if against_the_gate else why,
            verdict=verdict or "none",
            over=None if against_the_gate else chosen.tags.get("judged_against"),
        )

    def rollback(self, name: str, *, by: str, why: str, of: str | None = None) -> Moved:
        """Put the version that the champion replaced back into service.

        Said twice, it is done once: where the last move was a rollback, another one has to name
        the version that it is to withdraw.

        Args:
            name: Of the registered model.
            by: Who says so.
            why: In their words.
            of: The champion to withdraw; None for the one that was promoted last.

        Raises:
            PublishError: There is nothing to go back to, or `of` is not in service.
            LeaseError: Somebody else is moving something right now, and for long.
        """
        with self._alone(name, by, wait_s=_WAIT_S) as (held, journal):
            self._finish(name, held, journal)
            aliases = self.registry.aliases(name)
            champion = aliases.get("champion")
            tags = {one.version: one.tags for one in self.registry.versions(name)}
            last = journal.last()
            if of is None and _is_of(last, champion):
                return _already(last, name)
            if of is not None and of != champion:
                if champion is not None and tags.get(of, {}).get(WITHDRAWN) == "true":
                    sentence = f"Version {of} is withdrawn already; version {champion} is champion."
                    return _same("rollback", champion, sentence)
                raise PublishError(
                    f"Version {of} of {name!r} is not in service: version {champion or 'none'} is."
                )
            signature = Signature(by, why, _now())
            move = alias_moves.rollback(aliases=aliases, tags=tags, name=name, signature=signature)
            self.registry.expect_present(name, move.after)
            self._do(name, move, held, journal)
        sentence = f"Version {move.after} is back in service; version {move.before} is withdrawn."
        return Moved("rollback", move.before, move.after, changed=True, sentence=sentence)

    def recover(self, name: str, *, by: str) -> Move | None:
        """Do a move that was cut off to its end; return it, None where there is none."""
        with self._alone(name, by, wait_s=_WAIT_S) as (held, journal):
            return self._finish(name, held, journal)

    def _finish(self, name: str, held: Lease, journal: Journal) -> Move | None:
        finished = None
        for entry in journal.pending():
            self._apply(name, entry, held, journal)
            finished = entry.move
        return finished

    def _do(self, name: str, move: Move, held: Lease, journal: Journal) -> None:
        held.renew()
        entry = journal.begin(held.token, move)
        self._at("recorded")
        self._apply(name, entry, held, journal)

    def _apply(self, name: str, entry: Entry, held: Lease, journal: Journal) -> None:
        """Do a move that is on record; each step may be repeated."""
        move = entry.move
        audit = json.dumps({"kind": move.kind, "before": move.before, **vars(move.signature)})
        when = re.sub(r"\D", "", move.signature.at)[:14]  # numbers begin anew with a new database
        tags = ((move.after, f"{AUDIT}{when}.{entry.number:06d}", audit), *move.tags)
        for version, key, value in tags:
            held.renew()
            self.registry.note(name, version, **{key: value})
            self._at(f"tag {key.partition('.')[0]}")
        for alias, target in move.aliases:
            held.renew()
            self.registry.set_alias(name, alias, target)
            self._at(f"alias {alias}")
        journal.end(entry)
        self._at("ended")

    @contextmanager
    def _alone(self, name: str, by: str, *, wait_s: float) -> Iterator[tuple[Lease, Journal]]:
        place = without_password(self.registry.uri).rstrip("/")  # the same for all who log in
        key = f"{hashlib.sha256(place.encode()).hexdigest()[:12]}/{model_name(name)}"
        with lease.hold(
            self._database, f"champion of {key}", holder=by, seconds=_HELD_S, wait_s=wait_s
        ) as held:
            self._at("leased")
            yield held, Journal(self._database, key)
            self._at("leaving")
        self._at("released")


@contextmanager
def promotions(settings: Settings) -> Iterator[Promotions]:
    """Give what moves the champions of the settings, over the database of the datasets."""
    from curation.storage.database import connection, mongod

    uri = connection.connect(settings).uri
    with mongod.open_client(uri) as client:
        yield Promotions(Registry.of(settings), client[os.environ["FIFTYONE_DATABASE_NAME"]])


def history(registry: Registry, name: str) -> list[Event]:
    """Return every promotion and rollback of a model, oldest first, from the versions' tags."""
    events = [
        Event(int(key.rpartition(".")[2]), after=one.version, **json.loads(value))
        for one in registry.versions(name)
        for key, value in one.tags.items()
        if key.startswith(AUDIT)
    ]
    return sorted(events, key=lambda one: (one.at, one.number))


def _is_of(last: Entry | None, champion: str | None) -> bool:
    """Return whether the last move is the rollback that put the champion there."""
    return last is not None and last.move.kind == "rollback" and last.move.after == champion


def _already(last: Entry | None, name: str) -> Moved:
    if last is None:  # `_is_of` was asked before
        raise PublishError(f"Nothing was rolled back for {name!r}.")
    move = last.move
    sentence = (
        f"Version {move.after} was put back into service already, by {move.signature.by} at "
        f"{move.signature.at}; version {move.before} is withdrawn. To go one further, name the "
        f"version to withdraw: `curate rollback {name} --of {move.after}`."
    )
    return Moved("rollback", move.before, move.after, changed=False, sentence=sentence)


def _same(kind: Kind, champion: str, sentence: str) -> Moved:
    return Moved(kind, champion, champion, changed=False, sentence=sentence)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
