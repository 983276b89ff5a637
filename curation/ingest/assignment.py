"""Assignment of a drive and a split to each image. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from curation.errors import IngestError
from curation.ingest import splits
from curation.ingest.records import SPLIT_ALIASES, SPLITS, Record


def assign(
    records: Sequence[Record],
    *,
    drive_of: Callable[[Path], str],
    resplit: Sequence[float] | None,
    existing: Mapping[str, str],
) -> tuple[list[Record], list[str]]:
    """Return the records with drive and split, and remarks on how splits were assigned.

    Args:
        records: All images of a source, including those already in the dataset, which makes a
            repeated call assign the remaining ones as an uninterrupted call would.
        drive_of: Returns the drive of a file whose record has none.
        resplit: Shares of train, val and test for a new split; None to keep the source's splits.
        existing: Split of each drive already in the dataset, which is kept.
    """
    drives = [record.drive or drive_of(record.path) for record in records]
    proposed, remarks = _propose_splits(records, drives, resplit)
    final = splits.keep_existing(drives, proposed, existing)
    assigned = [
        replace(record, drive=drive, split=split)
        for record, drive, split in zip(records, drives, final, strict=True)
    ]
    return assigned, remarks


def split_aliases(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the split of each folder name, including extra names given by the user.

    Raises:
        IngestError: An extra name stands for something other than train, val or test.
    """
    aliases = {name.lower(): split for name, split in (extra or {}).items()}
    for name, split in aliases.items():
        if split not in SPLITS:
            raise IngestError(f"{name!r} must stand for train, val or test, got {split!r}.")
    return dict(SPLIT_ALIASES) | aliases


def _propose_splits(
    records: Sequence[Record], drives: Sequence[str], resplit: Sequence[float] | None
) -> tuple[list[str], list[str]]:
    if resplit is not None:
        return splits.assign_splits(drives, resplit), []
    if not any(record.split for record in records):
        if not any(record.boxes is not None for record in records):
            return ["train"] * len(records), []  # an unlabeled pool
        remark = "The source has no splits. Drives were split 70/15/15 into train, val and test."
        return splits.assign_splits(drives, splits.DEFAULT_SHARES), [remark]
    before = [record.split or "train" for record in records]
    leaks = splits.find_leaks(drives, before)
    if not leaks:
        return before, []
    after = splits.merge_leaks(drives, before)
    n_moved = sum(old != new for old, new in zip(before, after, strict=True))
    examples = ", ".join(f"{drive} ({'/'.join(names)})" for drive, names in list(leaks.items())[:3])
    remark = (
        f"{len(leaks)} drives or source photographs were in more than one split, such as "
        f"{examples}. All their images were moved to train if any was in train, else to val: "
        f"{n_moved} images moved. To split all drives again, use `--resplit`."
    )
    return after, [remark]
