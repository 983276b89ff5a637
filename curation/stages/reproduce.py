"""Say whether the input of an earlier round is still what it was, and what differs otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cascade.ensemble import Ensemble
from cascade.runtime.atomic_files import replace_text
from curation.active_learning.training import snapshot
from curation.active_learning.training.labeled_images import labeled_images
from curation.errors import StageError
from curation.storage import queries, reader, schema
from curation.storage.rounds import Round

if TYPE_CHECKING:
    from fiftyone import Dataset

SNAPSHOT = "snapshot.txt"  # in the folder of a round: a line for each image that it trained on


@dataclass(frozen=True)
class ReproduceResult:
    """How the input of a round compares with what it was.

    Attributes:
        identical: Whether images, splits, ground truth and the ensemble at the start are the same.
        then: The dataset's hash on record.
        now: The hash as recomputed.
        images: Images that the round would train on now.
        ensemble: Whether the ensemble that it began with is still there, unchanged; None where
            the record does not name it.
        added: Images that it had not.
        removed: Images that are gone, by path where they are still in the dataset, else by hash.
        moved: Images whose split is another.
        relabeled: Images whose ground truth is another.
        note: Why nothing more is known, where that is so.
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


def keep(dataset: Dataset, this: Round) -> None:
    """Keep, beside the record of a round, all images that it trains on: what its hash is of."""
    replace_text(this.folder / SNAPSHOT, "\n".join(_lines(dataset, this.number)))


def reproduce(dataset: Dataset, this: Round) -> ReproduceResult:
    """Recompute the input of a round and compare it with its record.

    Args:
        dataset: The FiftyOne dataset; nothing in it is changed.
        this: A round that was labeled.

    Raises:
        StageError: The round was not labeled, or what was kept of it was changed.
    """
    record = this.record()
    then = record["stages"].get("label", {}).get("summary", {}).get("dataset_hash")
    if not then:
        raise StageError(
            f"Round {this.number} of {dataset.name!r} was not labeled to its end, so there is "
            f"nothing to compare with. Look at {this.folder}."
        )
    lines = _lines(dataset, this.number)
    now = snapshot.digest(lines)
    ensemble = _same_start(this, record.get("ensemble_before"))
    identical = now == then and ensemble is not False
    if now == then:
        return ReproduceResult(identical, then, now, len(lines), ensemble)
    kept = _kept(this, then)
    if kept is None:
        note = f"What differs cannot be said: the round kept no {SNAPSHOT}."
        return ReproduceResult(False, then, now, len(lines), ensemble, note=note)
    found = snapshot.differences(kept, lines)
    columns = reader.read_columns(dataset, ["filepath", schema.CONTENT_HASH])
    paths = dict(zip(columns[schema.CONTENT_HASH], columns["filepath"], strict=True))
    return ReproduceResult(
        identical=False,
        then=then,
        now=now,
        images=len(lines),
        ensemble=ensemble,
        added=tuple(paths.get(one, one) for one in found.added),
        removed=tuple(paths.get(one, one) for one in found.removed),
        moved=tuple(paths.get(one, one) for one in found.moved),
        relabeled=tuple(paths.get(one, one) for one in found.relabeled),
    )


def _lines(dataset: Dataset, round_number: int) -> list[str]:
    taxonomy = queries.taxonomy_of(dataset)
    if taxonomy is None or dataset.get_field(schema.LABELED_ROUND) is None:
        raise StageError(f"{dataset.name!r} was never labeled here, so no round can be reproduced.")
    return snapshot.lines(labeled_images(dataset, taxonomy, up_to_round=round_number))


def _kept(this: Round, then: str) -> list[str] | None:
    """Return the lines that the round kept, None where it kept none."""
    path = this.folder / SNAPSHOT
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").split("\n")
    if snapshot.digest(lines) != then:
        raise StageError(
            f"{path} is not what the round kept: its hash is {snapshot.digest(lines)}, on record "
            f"is {then}. Put the file back from a backup, or remove it."
        )
    return lines


def _same_start(this: Round, then: str | None) -> bool | None:
    """Return whether the round's first ensemble is as it was; None where nobody knows."""
    if then is None:
        return None
    return this.start.is_dir() and Ensemble.load(this.start).identity == then
