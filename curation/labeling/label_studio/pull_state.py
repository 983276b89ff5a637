"""Changes on the server since the last pull, each reported once.

Annotations are identified by id, and their versions by a digest of what the annotator decided.
Times only tell which of two copies is newer: a paged listing may contain an annotation twice
during concurrent writes, and a copy that was read late may be older than the stored one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from curation.errors import LabelingError

_NEVER = datetime.min.replace(tzinfo=UTC)  # older than any copy
_DECIDED = ("task", "result", "was_cancelled", "completed_by", "lead_time")


@dataclass(frozen=True, slots=True)
class Stamp:
    """Version of an annotation.

    Attributes:
        updated_at: Time of the server's last write.
        digest: Digest of the content, see `digest`.
    """

    updated_at: datetime
    digest: str


@dataclass(frozen=True)
class Changes:
    """Difference between stored and listed annotations.

    Every id is in exactly one of the first four.

    Attributes:
        new: Ids that were not stored.
        changed: Ids with different content.
        deleted: Stored ids that are not listed.
        unchanged: All other ids.
        begun: State to store before the import. New annotations that an interrupted import wrote,
            and that are gone by the next pull, are then recognized as deleted.
        state: State to store after the import, not before: an interrupted import is repeated.
    """

    new: tuple[int, ...]
    changed: tuple[int, ...]
    deleted: tuple[int, ...]
    unchanged: tuple[int, ...]
    begun: Mapping[int, Stamp]
    state: Mapping[int, Stamp]


def digest(annotation: Mapping[str, Any]) -> str:
    """Return a hash of result, skip, author and labeling time; 64 hex digits."""
    author = annotation.get("completed_by")
    content = {name: annotation.get(name) for name in _DECIDED}
    content["completed_by"] = author.get("id") if isinstance(author, Mapping) else author
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def stamp(annotation: Mapping[str, Any]) -> Stamp:
    """Return the version of an annotation.

    Raises:
        LabelingError: It has no valid time.
    """
    return Stamp(_parse_time(annotation.get("updated_at")), digest(annotation))


def compare(stored: Mapping[int, Stamp], listed: Iterable[tuple[int, Stamp]]) -> Changes:
    """Return the difference between stored and listed annotations.

    Args:
        stored: The `state` of the last pull; empty before the first.
        listed: Id and version of each annotation on the server; ids may be repeated.
    """
    current: dict[int, Stamp] = {}
    for key, version in listed:
        if key not in current or version.updated_at >= current[key].updated_at:
            current[key] = version
    for key in current.keys() & stored.keys():
        if stored[key].updated_at > current[key].updated_at:
            current[key] = stored[key]
    common = current.keys() & stored.keys()
    unchanged = {key for key in common if stored[key].digest == current[key].digest}
    new = sorted(current.keys() - stored.keys())
    return Changes(
        new=tuple(new),
        changed=tuple(sorted(common - unchanged)),
        deleted=tuple(sorted(stored.keys() - current.keys())),
        unchanged=tuple(sorted(unchanged)),
        begun={**stored, **dict.fromkeys(new, Stamp(_NEVER, digest=""))},
        state=current,
    )


def _parse_time(value: Any) -> datetime:
    """Return a time with its zone, from a text or a time; without a zone it is UTC."""
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise LabelingError(
            f"An annotation has no valid time of its last change, got {value!r}."
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
