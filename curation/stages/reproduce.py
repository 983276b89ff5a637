"""Check whether the input of an earlier round is unchanged, and list the differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cascade.ensemble import Ensemble
from cascade.runtime.atomic_files import atomic_write_text
from curation.active_learning.training import snapshot
from curation.active_learning.training.labeled_images import labeled_images
from curation.errors import StageError
from curation.storage import queries, reader, schema
from curation.storage.rounds import Round

if TYPE_CHECKING:
    from fiftyone import Dataset

SNAPSHOT = "snapshot.txt"  # in the round's folder: a line for each training image


@dataclass(frozen=True)
class ReproduceResult:
    """Comparison of a round's input with its record.

    Attributes:
        identical: Whether images, splits, ground truth and the starting ensemble are unchanged.
        then: Recorded hash of the dataset.
        now: Recomputed hash of the dataset.
        images: Images that the round would train on now.
        ensemble: Whether the starting ensemble exists unchanged; None if it is not recorded.
        added: New images.
        removed: Missing images, by path if they are in the dataset, else by hash.
        moved: Images in another split.
        relabeled: Images with other ground truth.
        note: Reason for an incomplete comparison.
    """

    identical: bool
    then: str
    now: str
    images: int
    ensemble: bool | None
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    relabeled: tuple[str, ...] = ()
    note: str = ""


def save_snapshot(dataset: Dataset, round_: Round) -> None:
    """Save the hashed lines of a round's training images next to its record."""
    atomic_write_text(round_.folder / SNAPSHOT, "\n".join(_lines(dataset, round_.number)))


def reproduce(dataset: Dataset, round_: Round) -> ReproduceResult:
    """Recompute the input of a round and compare it with its record.

    Args:
        dataset: A FiftyOne dataset; it is not changed.
        round_: A labeled round.

    Raises:
        StageError: The round was not labeled, or its snapshot was modified.
    """
    record = round_.record()
    then = record["stages"].get("label", {}).get("summary", {}).get("dataset_hash")
    if not then:
        raise StageError(
            f"Round {round_.number} of {dataset.name!r} was not labeled completely, so there is "
            f"nothing to compare with. See {round_.folder}."
        )
    lines = _lines(dataset, round_.number)
    now = snapshot.digest(lines)
    ensemble = _same_start(round_, record.get("ensemble_before"))
    identical = now == then and ensemble is not False
    if now == then:
        return ReproduceResult(identical, then, now, len(lines), ensemble)
    before = _read_snapshot(round_, then)
    if before is None:
        note = f"The differences are unknown, because the round has no {SNAPSHOT}."
        return ReproduceResult(False, then, now, len(lines), ensemble, note=note)
    differences = snapshot.differences(before, lines)
    columns = reader.read_columns(dataset, ["filepath", schema.CONTENT_HASH])
    paths = dict(zip(columns[schema.CONTENT_HASH], columns["filepath"], strict=True))

    def in_paths(hashes: Sequence[str]) -> tuple[str, ...]:
        return tuple(paths.get(digest, digest) for digest in hashes)

    return ReproduceResult(
        identical=False,
        then=then,
        now=now,
        images=len(lines),
        ensemble=ensemble,
        added=in_paths(differences.added),
        removed=in_paths(differences.removed),
        moved=in_paths(differences.moved),
        relabeled=in_paths(differences.relabeled),
    )


def _lines(dataset: Dataset, round_number: int) -> list[str]:
    taxonomy = queries.taxonomy_of(dataset)
    if taxonomy is None or dataset.get_field(schema.LABELED_ROUND) is None:
        raise StageError(
            f"{dataset.name!r} was never labeled in a round, so there is nothing to reproduce."
        )
    return snapshot.lines(labeled_images(dataset, taxonomy, up_to_round=round_number))


def _read_snapshot(round_: Round, then: str) -> list[str] | None:
    """Return the saved lines of a round; None if there is no snapshot."""
    path = round_.folder / SNAPSHOT
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").split("\n")
    if snapshot.digest(lines) != then:
        raise StageError(
            f"{path} was modified: expected the recorded hash {then}, got "
            f"{snapshot.digest(lines)}. Restore the file from a backup, or remove it."
        )
    return lines


def _same_start(round_: Round, then: str | None) -> bool | None:
    """Return whether the starting ensemble is unchanged; None if it is not recorded."""
    if then is None:
        return None
    return round_.start.is_dir() and Ensemble.load(round_.start).identity == then
