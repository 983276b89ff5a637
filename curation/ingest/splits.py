"""Splits by group: every image of a drive is in the same one of train, val and test.

Pure: groups and splits are lists over n images.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from curation.errors import IngestError
from curation.ingest.records import SPLITS

DEFAULT_SHARES = (0.70, 0.15, 0.15)


def find_leaks(groups: Sequence[str], splits: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the groups that are in more than one split, with their splits."""
    splits_of: dict[str, set[str]] = {}
    for group, split in zip(groups, splits, strict=True):
        splits_of.setdefault(group, set()).add(split)
    return {
        group: tuple(split for split in SPLITS if split in members)
        for group, members in sorted(splits_of.items())
        if len(members) > 1
    }


def merge_leaks(groups: Sequence[str], splits: Sequence[str]) -> list[str]:
    """Return the splits with every leaking group moved to train if it touches train, else to val.

    Evaluation loses images rather than containing what training has seen.
    """
    target = {group: members[0] for group, members in find_leaks(groups, splits).items()}
    return [target.get(group, split) for group, split in zip(groups, splits, strict=True)]


def assign_splits(groups: Sequence[str], shares: Sequence[float], *, seed: int = 0) -> list[str]:
    """Return a split for each image, keeping groups together, close to the shares.

    Groups are assigned from largest to smallest, each to the split with the largest deficit; the
    seed orders groups of equal size. Equal input gives equal splits.

    Args:
        groups: Group of each image.
        shares: Shares of train, val and test; they sum to 1.
        seed: Random seed for the order of equally large groups.

    Raises:
        IngestError: The shares are invalid.
    """
    if len(shares) != len(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise IngestError(
            f"The shares of train, val and test must be 3 numbers that sum to 1, got {shares}."
        )
    sizes = Counter(groups)
    order = sorted(sizes)
    random.Random(seed).shuffle(order)  # noqa: S311 - not used for security
    order.sort(key=lambda group: -sizes[group])
    deficit = {split: share * len(groups) for split, share in zip(SPLITS, shares, strict=True)}
    split_of: dict[str, str] = {}
    for group in order:
        split_of[group] = max(SPLITS, key=lambda split: deficit[split])
        deficit[split_of[group]] -= sizes[group]
    return [split_of[group] for group in groups]


def keep_existing(
    groups: Sequence[str], splits: Sequence[str], existing: Mapping[str, str]
) -> list[str]:
    """Return the splits, replaced by the existing split of each group that has one."""
    return [existing.get(group, split) for group, split in zip(groups, splits, strict=True)]
