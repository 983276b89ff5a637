"""What changed on the server since the last pull: nothing lost, nothing twice.

An annotation is told from another by its id, and from its former self by a digest of what a
person decided. Times only say which of two copies is the younger: a listing in pages may show
one annotation twice while others are written, and a copy that was read late may be older than
what is stored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from curation.errors import LabelingError

_UNSEEN_AT = datetime.min.replace(tzinfo=UTC)  # older than any copy, and of no content
_DECIDED = ("task", "result", "was_cancelled", "completed_by", "lead_time")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is remembered of an annotation.

    Attributes:
        updated_at: When the server last wrote it.
        digest: Of its content, see `digest`.
    """

    updated_at: datetime
    digest: str


@dataclass(frozen=True)
class Changes:
    """What a pull has to do. Every id that is stored or listed is in exactly one of the four.

    Attributes:
        new: Ids that were not stored.
        changed: Ids whose content is another.
        deleted: Stored ids that a complete listing does not have.
        unchanged: All others.
        begun: What to store before any of this is done. Then a new annotation that was taken
            over by a pull that broke off, and that is gone by the next, is known to be gone.
        state: What to store once all of it is done, and not before: then a pull that breaks
            off is repeated whole.
    """

    new: tuple[int, ...]
    changed: tuple[int, ...]
    deleted: tuple[int, ...]
    unchanged: tuple[int, ...]
    begun: Mapping[int, Stamp]
    state: Mapping[int, Stamp]


def digest(annotation: Mapping[str, Any]) -> str:
    """Return a hash of what a person decided: result, skip, author, time taken; 64 hex digits."""
    author = annotation.get("completed_by")
    content = {name: annotation.get(name) for name in _DECIDED}
    content["completed_by"] = author.get("id") if isinstance(author, Mapping) else author
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def stamp(annotation: Mapping[str, Any]) -> Stamp:
    """Return what is to be remembered of an annotation.

    Raises:
        LabelingError: It does not say when it was written.
    """
    return Stamp(_time(annotation.get("updated_at")), digest(annotation))


def compare(
    stored: Mapping[int, Stamp], listed: Iterable[tuple[int, Stamp]], *, complete: bool
) -> Changes:
    """Return how what the server lists differs from what was stored.

    Args:
        stored: The `state` of the last pull; empty before the first.
        listed: Id and stamp of what the server has now; an id may come several times.
        complete: Whether the listing has all that there is. Only then is something deleted.
            Pages that shift while others delete can leave one out: ask for each deleted id by
            itself before it is marked.
    """
    now: dict[int, Stamp] = {}
    for one, seen in listed:
        if one not in now or seen.updated_at >= now[one].updated_at:
            now[one] = seen
    for one in now.keys() & stored.keys():
        if stored[one].updated_at > now[one].updated_at:
            now[one] = stored[one]
    gone = stored.keys() - now.keys()
    kept = {} if complete else {one: stored[one] for one in gone}
    same = {one for one, seen in now.items() if one in stored and stored[one].digest == seen.digest}
    new = sorted(now.keys() - stored.keys())
    return Changes(
        new=tuple(new),
        changed=tuple(sorted((now.keys() & stored.keys()) - same)),
        deleted=tuple(sorted(gone - kept.keys())),
        unchanged=tuple(sorted(same | kept.keys())),
        begun={**stored, **dict.fromkeys(new, Stamp(_UNSEEN_AT, digest=""))},
        state=now | kept,
    )


def _time(written: Any) -> datetime:
    """Return a time with its zone, from text or from a time; without a zone it is UTC."""
    try:
        time = written if isinstance(written, datetime) else datetime.fromisoformat(written)
    except (TypeError, ValueError) as error:
        raise LabelingError(
            f"An annotation says {written!r} where the time of its last change belongs."
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
