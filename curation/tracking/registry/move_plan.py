"""Changes of aliases and tags by a promotion or rollback. Pure.

The tag `replaced` of a version names the champion before it, so versions form a chain. A
rollback follows the chain back, past withdrawn versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from curation.errors import PublishError

Kind = Literal["promote", "rollback"]
Tags = Mapping[str, Mapping[str, str]]  # by version

REPLACED = "replaced"  # tag: the version that was champion before this one
WITHDRAWN = "withdrawn"  # tag: "true" where a rollback took it out of service


@dataclass(frozen=True)
class Signature:
    """Author, reason and time of a move.

    Attributes:
        by: A person, or a program such as `gate` or `guard`.
        why: Reason in the author's words.
        at: Time, ISO 8601, UTC.
    """

    by: str
    why: str
    at: str


@dataclass(frozen=True)
class Move:
    """All changes of one promotion or rollback.

    Attributes:
        kind: Kind of move.
        before: Champion before; None for the first promotion.
        after: Champion afterwards.
        tags: Tags to set before the aliases, `(version, key, value)`.
        aliases: Aliases to set, in order; None deletes one.
        signature: Author, reason and time.
    """

    kind: Kind
    before: str | None
    after: str
    tags: tuple[tuple[str, str, str], ...]
    aliases: tuple[tuple[str, str | None], ...]
    signature: Signature

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the database."""
        content = asdict(self)
        return content | {key: [list(item) for item in content[key]] for key in ("tags", "aliases")}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Move:
        """Return the move from the values of `to_dict`."""
        return cls(
            kind=content["kind"],
            before=content["before"],
            after=content["after"],
            tags=tuple((version, key, value) for version, key, value in content["tags"]),
            aliases=tuple((alias, version) for alias, version in content["aliases"]),
            signature=Signature(**content["signature"]),
        )


def promotion(
    version: str, *, aliases: Mapping[str, str], verdict: str, signature: Signature
) -> Move:
    """Return the move that promotes a version to champion."""
    champion = aliases.get("champion")
    tags = [(version, "verdict", verdict), (version, WITHDRAWN, "false")]
    tags += _signature_tags(version, "promoted", signature)
    changes: list[tuple[str, str | None]] = []
    if champion is not None:
        tags.append((version, REPLACED, champion))
        changes.append(("previous", champion))
    changes.append(("champion", version))
    if aliases.get("challenger") == version:
        changes.append(("challenger", None))
    return Move("promote", champion, version, tuple(tags), tuple(changes), signature)


def rollback(*, aliases: Mapping[str, str], tags: Tags, name: str, signature: Signature) -> Move:
    """Return the move that restores the version replaced by the champion.

    Raises:
        PublishError: The champion replaced no version that is not withdrawn.
    """
    champion = aliases.get("champion")
    restored = _predecessor(champion, tags) if champion else None
    if champion is None or restored is None:
        raise PublishError(
            f"The champion of {name!r} (version {champion or 'none'}) replaced no other "
            "version, so none can be restored."
        )
    new_tags = [(champion, WITHDRAWN, "true"), *_signature_tags(champion, "withdrawn", signature)]
    return Move(
        "rollback",
        champion,
        restored,
        tuple(new_tags),
        (("champion", restored), ("previous", _predecessor(restored, tags, excluded=champion))),
        signature,
    )


def _predecessor(version: str, tags: Tags, excluded: str = "") -> str | None:
    """Return the last champion before a version that is not withdrawn; None if there is none."""
    seen = {version}
    candidate = tags.get(version, {}).get(REPLACED)
    while candidate is not None and candidate not in seen:
        available = candidate in tags and tags[candidate].get(WITHDRAWN) != "true"
        if available and candidate != excluded:
            return candidate
        seen.add(candidate)
        candidate = tags.get(candidate, {}).get(REPLACED)
    return None


def _signature_tags(version: str, verb: str, signature: Signature) -> list[tuple[str, str, str]]:
    return [
        (version, f"{verb}_by", signature.by),
        (version, f"{verb}_at", signature.at),
        (version, f"{verb}_why", signature.why),
    ]
