"""Splits that keep groups together: a drive is in train, in val or in test, never in two.

Pure: groups and splits are lists over n images.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from curation.errors import IngestError
from curation.ingest.records import SPLITS

DEFAULT_SHARES = (0.70, 0.15, 0.15)


def leaking(groups: Sequence[str], splits: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the groups that lie in more than one split, with their splits."""
    found: dict[str, set[str]] = {}
    for group, split in zip(groups, splits, strict=True):
        found.setdefault(group, set()).add(split)
    return {
        group: tuple(split for split in SPLITS if split in held)
        for group, held in sorted(found.items())
        if len(held) > 1
    }


def merged(groups: Sequence[str], splits: Sequence[str]) -> list[str]:
    """Return the splits with every leaking group whole in one: train, else val.

    So evaluation loses images, and never looks at what training has seen.
    """
    home = {group: held[0] for group, held in leaking(groups, splits).items()}
    return [home.get(group, split) for group, split in zip(groups, splits, strict=True)]


def assigned(groups: Sequence[str], shares: Sequence[float], *, seed: int = 0) -> list[str]:
    """Return a split for each image, whole groups at a time, near the shares.

    The largest groups go first, each to the split that lacks most; the seed orders groups of
    the same size. The same groups always get the same splits.

    Args:
        groups: The group of each image.
        shares: Of train, val and test; they sum to 1.
        seed: Of the order.

    Raises:
        IngestError: The shares are no shares.
    """
    if len(shares) != len(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise IngestError(
            f"The shares of train, val and test must be 3 numbers that sum to 1, got {shares}."
        )
    sizes = Counter(groups)
    order = sorted(sizes)
    random.Random(seed).shuffle(order)  # noqa: S311 - an order, no secret
    order.sort(key=lambda group: -sizes[group])
    lacking = {split: share * len(groups) for split, share in zip(SPLITS, shares, strict=True)}
    home: dict[str, str] = {}
    for group in order:
        home[group] = max(SPLITS, key=lambda split: lacking[split])
        lacking[home[group]] -= sizes[group]
    return [home[group] for group in groups]


def kept(groups: Sequence[str], splits: Sequence[str], existing: Mapping[str, str]) -> list[str]:
    """Return the splits, but for groups that have one already: those stay where they are."""
    return [existing.get(group, split) for group, split in zip(groups, splits, strict=True)]
