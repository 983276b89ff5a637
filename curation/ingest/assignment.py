"""Where each image belongs: its drive and its split. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from curation.errors import IngestError
from curation.ingest import splits
from curation.ingest.records import SPLIT_WORDS, SPLITS, Record


def placed(
    records: Sequence[Record],
    *,
    drive_of: Callable[[Path], str],
    resplit: Sequence[float] | None,
    existing: Mapping[str, str],
) -> tuple[list[Record], list[str]]:
    """Return the records with drive and split, and what was done about splits, in sentences.

    Args:
        records: All images of a source, those that are in the dataset already included: so a
            call that was cut off and comes again places the rest as it would have.
        drive_of: Tells the drive of a file whose record does not.
        resplit: Shares of train, val and test to split anew; None to keep what the source says.
        existing: The split of each drive that the dataset has; it stays.
    """
    drives = [record.drive or drive_of(record.path) for record in records]
    given, advice = _split(records, drives, resplit)
    final = splits.kept(drives, given, existing)
    moved = [
        replace(record, drive=drive, split=split)
        for record, drive, split in zip(records, drives, final, strict=True)
    ]
    return moved, advice


def split_words(given: Mapping[str, str] | None) -> dict[str, str]:
    """Return the folder names that stand for splits, those that were given included.

    Raises:
        IngestError: A name stands for something else than train, val or test.
    """
    words = {word.lower(): split for word, split in (given or {}).items()}
    for word, split in words.items():
        if split not in SPLITS:
            raise IngestError(f"{word!r} must stand for train, val or test, got {split!r}.")
    return dict(SPLIT_WORDS) | words


def _split(
    records: Sequence[Record], drives: Sequence[str], resplit: Sequence[float] | None
) -> tuple[list[str], list[str]]:
    if resplit is not None:
        return splits.assigned(drives, resplit), []
    if not any(record.split for record in records):
        if not any(record.boxes is not None for record in records):
            return ["train"] * len(records), []  # a pool to choose from
        said = "The source names no splits: drives were split 70/15/15 into train, val and test."
        return splits.assigned(drives, splits.DEFAULT_SHARES), [said]
    given = [record.split or "train" for record in records]
    leaks = splits.leaking(drives, given)
    if not leaks:
        return given, []
    after = splits.merged(drives, given)
    moved = sum(a != b for a, b in zip(given, after, strict=True))
    shown = ", ".join(f"{drive} ({'/'.join(held)})" for drive, held in list(leaks.items())[:3])
    said = (
        f"{len(leaks)} drives or source photographs lay in more than one split, such as {shown}. "
        f"Each was brought together in train, else val: {moved} images moved. "
        "To split all anew by drive, use `--resplit`."
    )
    return after, [said]
