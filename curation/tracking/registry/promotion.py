"""Promotion and rollback: exclusive, and completed even after a crash.

MLflow moves one alias at a time, without compare-and-set. Therefore

1. a lease in the database admits one move at a time;
2. all changes of a move are written to a journal before the first alias moves;
3. the next process completes an interrupted move before its own.

The version is verified before the move is recorded, and `champion` moves in one step: it always
names a complete version. Lease and journal are in the database of the datasets, so processes
that share a registry must also share the database.
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
from curation.tracking.registry import move_plan
from curation.tracking.registry.journal import Entry, Journal
from curation.tracking.registry.move_plan import WITHDRAWN, Kind, Move, Signature
from curation.tracking.registry.versions import Registry

if TYPE_CHECKING:
    from pymongo.database import Database

    from curation.settings import Settings
    from curation.storage.database.lease import Lease

StepCallback = Callable[[str], None]
AUDIT = "audit."  # prefix of the audit trail's tags; time and number of the move follow

_LEASE_S = 30.0  # between two steps; renewed before and after files are verified
_WAIT_S = 10.0  # for another move, if waiting is better than an error


@dataclass(frozen=True)
class MoveResult:
    """Result of a promotion or rollback.

    Attributes:
        kind: Kind of move.
        before: Champion before.
        champion: Champion now.
        changed: Whether an alias moved; False if it had already been done.
        sentence: The result as a sentence.
    """

    kind: Kind
    before: str | None
    champion: str
    changed: bool
    sentence: str


@dataclass(frozen=True)
class Event:
    """Entry of the audit trail.

    Attributes:
        number: Increasing number of the move, per database.
        kind: `promote` or `rollback`.
        before: Champion before; None for the first promotion.
        after: Champion afterwards.
        by: Author.
        why: Reason in the author's words.
        at: Time, ISO 8601, UTC.
    """

    number: int
    kind: str
    before: str | None
    after: str
    by: str
    why: str
    at: str


class Promotions:
    """Promotions and rollbacks in a registry.

    Args:
        registry: Registry of versions.
        database: MongoDB database of the lease and the journal.
        on_step: Callback with the name of each completed step, for tests that end the process.
    """

    def __init__(
        self,
        registry: Registry,
        database: Database[Any],
        *,
        on_step: StepCallback = lambda step: None,
    ) -> None:
        self.registry, self._database, self._on_step = registry, database, on_step

    def promote(
        self,
        name: str,
        version: str,
        *,
        by: str,
        why: str,
        verdict: str = "promote",
        judged_against: str | None = None,
    ) -> MoveResult:
        """Promote a version to champion, and record the version that it replaces.

        Args:
            name: Name of the registered model.
            version: Version to promote.
            by: Author of the promotion.
            why: Reason in the author's words.
            verdict: Verdict of the gate, a tag of the version.
            judged_against: Champion that the version was judged against; the promotion is
                refused if the champion has changed. None to skip this check.

        Raises:
            PublishError: The version is incomplete, or the champion has changed.
            LeaseError: Another process is moving an alias.
        """
        with self._lock(name, by, wait_s=0.0) as (move_lease, journal):
            self._complete_pending(name, move_lease, journal)
            aliases = self.registry.aliases(name)
            champion = aliases.get("champion")
            if champion == version:
                return _unchanged("promote", version, f"Version {version} is already champion.")
            if judged_against is not None and champion != judged_against:
                raise PublishError(
                    f"Version {version} of {name!r} was judged against version {judged_against}, "
                    f"but version {champion} is champion now. Evaluate and publish again."
                )
            self.registry.verify(name, version)
            signature = Signature(by, why, _now())
            move = move_plan.promotion(
                version, aliases=aliases, verdict=verdict, signature=signature
            )
            self._make(name, move, move_lease, journal)
        before = f"it replaces version {champion}" if champion else "it is the first"
        sentence = f"Version {version} is champion: {before}."
        return MoveResult("promote", champion, version, changed=True, sentence=sentence)

    def promote_judged(
        self, name: str, number_or_alias: str, *, by: str, why: str, against_the_gate: bool = False
    ) -> MoveResult:
        """Promote a version that the gate has passed, or any version against the gate.

        Args:
            name: Name of the registered model.
            number_or_alias: Number or alias of the version.
            by: Author of the promotion.
            why: Reason in the author's words, marked if it is against the gate.
            against_the_gate: Whether to ignore the gate's verdict and the champion that it
                refers to.

        Raises:
            PublishError: The gate did not pass the version, or `promote` refuses.
            LeaseError: Another process is moving an alias.
        """
        version = self.registry.version(name, number_or_alias)
        verdict = version.tags.get("verdict", "")
        if verdict != "promote" and not against_the_gate:
            raise PublishError(
                f"The gate's verdict on version {version.version} is {verdict or 'none'}: "
                f"{version.tags.get('reasons') or 'it was not judged.'} To promote it anyway, use "
                "--against-the-gate (`against_the_gate=True`), which is recorded with your name."
            )
        return self.promote(
            name,
            version.version,
            by=by,
            why=f"Against the gate: {why}" if against_the_gate else why,
            verdict=verdict or "none",
            judged_against=None if against_the_gate else version.tags.get("judged_against"),
        )

    def rollback(self, name: str, *, by: str, why: str, of: str | None = None) -> MoveResult:
        """Restore the version that the champion replaced.

        Idempotent: after a rollback, another one must name the version to withdraw.

        Args:
            name: Name of the registered model.
            by: Author of the rollback.
            why: Reason in the author's words.
            of: Champion to withdraw; None for the version promoted last.

        Raises:
            PublishError: No version can be restored, or `of` is not the champion.
            LeaseError: Another process has been moving an alias for too long.
        """
        with self._lock(name, by, wait_s=_WAIT_S) as (move_lease, journal):
            self._complete_pending(name, move_lease, journal)
            aliases = self.registry.aliases(name)
            champion = aliases.get("champion")
            tags = {version.version: version.tags for version in self.registry.versions(name)}
            last = journal.last()
            if of is None and last is not None and _restored(last, champion):
                return _already_restored(last, name)
            if of is not None and of != champion:
                if champion is not None and tags.get(of, {}).get(WITHDRAWN) == "true":
                    sentence = f"Version {of} is already withdrawn; version {champion} is champion."
                    return _unchanged("rollback", champion, sentence)
                raise PublishError(
                    f"Version {of} of {name!r} is not the champion, which is {champion or 'none'}."
                )
            signature = Signature(by, why, _now())
            move = move_plan.rollback(aliases=aliases, tags=tags, name=name, signature=signature)
            self.registry.check_sizes(name, move.after)
            self._make(name, move, move_lease, journal)
        sentence = f"Version {move.after} is champion again; version {move.before} is withdrawn."
        return MoveResult("rollback", move.before, move.after, changed=True, sentence=sentence)

    def _complete_pending(self, name: str, move_lease: Lease, journal: Journal) -> None:
        for entry in journal.pending():
            self._apply(name, entry, move_lease, journal)

    def _make(self, name: str, move: Move, move_lease: Lease, journal: Journal) -> None:
        move_lease.renew()
        entry = journal.begin(move_lease.token, move)
        self._on_step("recorded")
        self._apply(name, entry, move_lease, journal)

    def _apply(self, name: str, entry: Entry, move_lease: Lease, journal: Journal) -> None:
        """Make a recorded move; each step is idempotent."""
        move = entry.move
        audit = json.dumps({"kind": move.kind, "before": move.before, **vars(move.signature)})
        when = re.sub(r"\D", "", move.signature.at)[:14]  # numbers restart with a new database
        tags = ((move.after, f"{AUDIT}{when}.{entry.number:06d}", audit), *move.tags)
        for version, key, value in tags:
            move_lease.renew()
            self.registry.set_tags(name, version, **{key: value})
            self._on_step(f"tag {key.partition('.')[0]}")
        for alias, target in move.aliases:
            move_lease.renew()
            self.registry.set_alias(name, alias, target)
            self._on_step(f"alias {alias}")
        journal.end(entry)
        self._on_step("ended")

    @contextmanager
    def _lock(self, name: str, by: str, *, wait_s: float) -> Iterator[tuple[Lease, Journal]]:
        address = without_password(self.registry.uri).rstrip("/")  # the same for all users
        key = f"{hashlib.sha256(address.encode()).hexdigest()[:12]}/{model_name(name)}"
        with lease.hold(
            self._database, f"champion of {key}", holder=by, seconds=_LEASE_S, wait_s=wait_s
        ) as move_lease:
            self._on_step("leased")
            yield move_lease, Journal(self._database, key)
            self._on_step("leaving")
        self._on_step("released")


@contextmanager
def open_promotions(settings: Settings) -> Iterator[Promotions]:
    """Yield the promotions of the settings' registry, over the database of the datasets."""
    from curation.storage.database import connection, mongod

    uri = connection.connect(settings).uri
    with mongod.open_client(uri) as client:
        yield Promotions(
            Registry.from_settings(settings), client[os.environ["FIFTYONE_DATABASE_NAME"]]
        )


def history(registry: Registry, name: str) -> list[Event]:
    """Return all promotions and rollbacks of a model, oldest first, from the versions' tags."""
    events = [
        Event(int(key.rpartition(".")[2]), after=version.version, **json.loads(value))
        for version in registry.versions(name)
        for key, value in version.tags.items()
        if key.startswith(AUDIT)
    ]
    return sorted(events, key=lambda event: (event.at, event.number))


def _restored(last: Entry, champion: str | None) -> bool:
    """Return whether the last move is the rollback that restored the champion."""
    return last.move.kind == "rollback" and last.move.after == champion


def _already_restored(last: Entry, name: str) -> MoveResult:
    move = last.move
    sentence = (
        f"Version {move.after} was already restored by {move.signature.by} at "
        f"{move.signature.at}; version {move.before} is withdrawn. To go back further, name the "
        f"version to withdraw: `curate rollback {name} --of {move.after}`."
    )
    return MoveResult("rollback", move.before, move.after, changed=False, sentence=sentence)


def _unchanged(kind: Kind, champion: str, sentence: str) -> MoveResult:
    return MoveResult(kind, champion, champion, changed=False, sentence=sentence)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
