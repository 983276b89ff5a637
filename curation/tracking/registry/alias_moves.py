"""What a promotion or a rollback changes: aliases and tags, from what there is. Pure.

A version's tag `replaced` names the champion before it, so the versions form a chain; a
rollback goes back along it, past versions that were withdrawn.
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
    """Who moved what is in service, and why.

    Attributes:
        by: A person, or a program such as `gate` or `guard`.
        why: In their words.
        at: When, ISO 8601, UTC.
    """

    by: str
    why: str
    at: str


@dataclass(frozen=True)
class Move:
    """All that one promotion or rollback changes.

    Attributes:
        kind: Which of them.
        before: The champion until then; None at the first promotion.
        after: The champion from then on.
        tags: Tags to set, `(version, key, value)`, before the aliases.
        aliases: Aliases to set, in this order; None takes one away.
        signature: Who, why and when.
    """

    kind: Kind
    before: str | None
    after: str
    tags: tuple[tuple[str, str, str], ...]
    aliases: tuple[tuple[str, str | None], ...]
    signature: Signature

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as a database keeps them."""
        content = asdict(self)
        return content | {key: [list(one) for one in content[key]] for key in ("tags", "aliases")}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Move:
        """Return the move of which `to_dict` wrote."""
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
    """Return what puts a version into service that is not in service yet."""
    champion = aliases.get("champion")
    tags = [(version, "verdict", verdict), (version, WITHDRAWN, "false")]
    tags += _signed(version, "promoted", signature)
    moved: list[tuple[str, str | None]] = []
    if champion is not None:
        tags.append((version, REPLACED, champion))
        moved.append(("previous", champion))
    moved.append(("champion", version))
    if aliases.get("challenger") == version:
        moved.append(("challenger", None))
    return Move("promote", champion, version, tuple(tags), tuple(moved), signature)


def rollback(*, aliases: Mapping[str, str], tags: Tags, name: str, signature: Signature) -> Move:
    """Return what puts the version that the champion replaced back into service.

    Raises:
        PublishError: The champion has replaced none that is still good.
    """
    champion = aliases.get("champion")
    before = _before(champion, tags) if champion else None
    if champion is None or before is None:
        raise PublishError(
            f"The champion of {name!r} (version {champion or 'none'}) has replaced no other "
            "version, so there is nothing to go back to."
        )
    noted = [(champion, WITHDRAWN, "true"), *_signed(champion, "withdrawn", signature)]
    return Move(
        "rollback",
        champion,
        before,
        tuple(noted),
        (("champion", before), ("previous", _before(before, tags, without=champion))),
        signature,
    )


def _before(version: str, tags: Tags, without: str = "") -> str | None:
    """Return the last champion before a version that was not withdrawn, None where none is."""
    seen = {version}
    found = tags.get(version, {}).get(REPLACED)
    while found is not None and found not in seen:
        good = found in tags and tags[found].get(WITHDRAWN) != "true"
        if good and found != without:
            return found
        seen.add(found)
        found = tags.get(found, {}).get(REPLACED)
    return None


def _signed(version: str, verb: str, signature: Signature) -> list[tuple[str, str, str]]:
    return [
        (version, f"{verb}_by", signature.by),
        (version, f"{verb}_at", signature.at),
        (version, f"{verb}_why", signature.why),
    ]
