"""Diagnostics of an ingested dataset: duplicates, rejected files and labels, and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cascade.taxonomy import Taxonomy
from curation.ingest import validation
from curation.ingest.records import Problem
from curation.ingest.writer import Writer
from curation.storage import reader, schema
from curation.storage.writer import add_tags

if TYPE_CHECKING:
    from fiftyone import Dataset

_MAX_RECORDED = 20_000  # entries; a MongoDB document holds 16 MB


def tag_duplicates(dataset: Dataset) -> list[list[str]]:
    """Tag samples whose file is identical to another; return the groups of files."""
    columns = reader.read_columns(dataset, ["filepath", schema.CONTENT_HASH, "tags"])
    ids, paths, hashes, tags = columns.values()
    groups = validation.exact_duplicates(dict(zip(paths, hashes, strict=True)))
    same = {path for group in groups for path in group}
    add_tags(
        dataset,
        {
            sample_id: [schema.DUPLICATE]
            for sample_id, path, present in zip(ids, paths, tags, strict=True)
            if path in same and schema.DUPLICATE not in (present or ())
        },
    )
    return groups


def record_problems(dataset: Dataset, problems: Sequence[Problem]) -> None:
    """Record rejected files and labels on the dataset; remove entries that were fixed."""
    before = dataset.info.get(schema.INGEST_INFO) or []
    present = set(dataset.values("filepath"))
    new = [asdict(problem) for problem in problems]
    renewed = {entry["filepath"] for entry in new}
    unresolved = [
        entry
        for entry in before
        if entry["filepath"] not in renewed
        and (entry["error"] == "LabelError" or entry["filepath"] not in present)
    ]
    entries = [*unresolved, *new]
    if len(entries) > _MAX_RECORDED:
        more = f"{len(entries) - _MAX_RECORDED} more were left out"
        entries = [*entries[:_MAX_RECORDED], asdict(Problem("", "IngestError", more))]
    if entries != before:
        dataset.info[schema.INGEST_INFO] = entries
        dataset.save()


def find_warnings(
    dataset: Dataset, duplicates: Sequence[Sequence[str]], writer: Writer, taxonomy: Taxonomy
) -> list[str]:
    """Return warnings about the dataset, as sentences."""
    warnings = []
    columns = reader.read_columns(dataset, ["filepath", schema.SPLIT, schema.LABELED_ROUND])
    split_of = dict(zip(columns["filepath"], columns[schema.SPLIT], strict=True))
    across = [group for group in duplicates if len({split_of.get(path) for path in group}) > 1]
    if across:
        warnings.append(
            f"{len(across)} images have an exact copy in another split, such as "
            f"{Path(across[0][0]).name}, so evaluation uses training images. Remove the copies, "
            "or give them the same drive."
        )
    if writer.dropped and not dataset.count(f"{schema.GROUND_TRUTH}.detections") + dataset.count(
        f"{schema.ORACLE}.detections"
    ):
        warnings.append(
            f"No label belongs to the taxonomy {taxonomy.name!r}, whose classes are "
            f"{', '.join(taxonomy.names)}. Add synonyms to it, or use another `--taxonomy`."
        )
    rounds = zip(columns[schema.SPLIT], columns[schema.LABELED_ROUND], strict=True)
    labeled = {split for split, number in rounds if number is not None}
    missing = [split for split in ("val", "test") if split not in labeled]
    if (writer.labeled or writer.held_back) and missing:
        warnings.append(
            f"No image in {' or '.join(missing)} is labeled, but calibration needs val and the "
            "gate needs test. `--resplit` creates both."
        )
    return warnings
