"""Write the report of a round as an HTML page, or render it for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.predictions import Detections
from cascade.runtime.atomic_files import atomic_write_text
from cascade.taxonomy import Taxonomy
from curation.labeling import tasks
from curation.report import cells, compose
from curation.report.facts import (
    Chosen,
    Facts,
    MemberCost,
    MemberFacts,
    Projection,
    read_round_record,
)
from curation.report.page import Page
from curation.storage import collection, queries, reader, rounds, schema
from curation.storage.rounds import Round

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView
    from rich.console import RenderableType

    from curation.settings import Settings

PAGE = "report.html"
_EXAMPLES = 8  # images per arm: two rows of four
_CONFIDENT = 0.5


def report(dataset: Dataset, round_: Round, settings: Settings) -> Path:
    """Write the round's report as one self-contained HTML file; return its path.

    Stages that did not run are named, so even a dataset that was only predicted and scored gets a
    report. An earlier report of the round is replaced.

    Args:
        dataset: A FiftyOne dataset.
        round_: The round, finished or not.
        settings: Settings with the home folder of earlier rounds.

    Raises:
        StageError: A file of the round cannot be read.
    """
    from curation.report.render import html

    text = html.render(_compose(dataset, round_, settings))
    atomic_write_text(round_.folder / PAGE, text)
    return round_.folder / PAGE


def to_terminal(dataset: Dataset, round_: Round, settings: Settings) -> RenderableType:
    """Return the report as a renderable for `rich`."""
    from curation.report.render import terminal

    return terminal.render(_compose(dataset, round_, settings))


def _compose(dataset: Dataset, round_: Round, settings: Settings) -> Page:
    round_record = read_round_record(round_)
    earlier = [
        read_round_record(rounds.get_round(settings.home, dataset.name, number))
        for number in range(1, round_.number)
    ]
    return compose.compose(_facts(dataset, round_), round_record, earlier)


def _facts(dataset: Dataset, round_: Round) -> Facts:
    taxonomy = queries.taxonomy_of(dataset)
    batch = dataset.match_tags(round_.tag)
    columns = reader.read_columns(batch, ["tags", schema.RANK, schema.HARDNESS])
    decision = taxonomy.decision.name if taxonomy else ""
    return Facts(
        dataset=dataset.name,
        samples=len(dataset),
        splits=_counts(dataset, schema.SPLIT),
        labeled=_exist(dataset, schema.LABELED_ROUND),
        members=tuple(_member(dataset, name) for name in _label_fields(dataset)),
        consensus=_consensus(dataset),
        decisions=_counts(dataset, f"{decision}.label") if decision else {},
        decision=decision,
        ways=_counts(dataset, schema.PATH),
        costs=_costs(dataset),
        contradictions=_contradictions(dataset),
        pool=_pool(dataset, columns),
        arms=_by_arm(columns["tags"], columns[schema.HARDNESS]),
        shown=_examples(batch, columns, taxonomy),
        projection=_projection(dataset, set(columns["id"])),
        failures=[*_left_out(dataset), *reader.read_failures(dataset)],
    )


def _costs(dataset: Dataset) -> dict[str, MemberCost]:
    """Return the cost of each member, as recorded by the stages that ran it."""
    costs = queries.read_info(dataset, schema.COSTS) or {}
    return {
        name: MemberCost(tier=cost["tier"], ms=cost["ms"], paths=tuple(cost["paths"]))
        for name, cost in costs.items()
    }


def _contradictions(dataset: Dataset) -> int | None:
    return len(schema.contradicting_samples(dataset)) if schema.answer_fields(dataset) else None


def _left_out(dataset: Dataset) -> list[dict[str, Any]]:
    """Return the files and label rows that ingest left out."""
    problems = dataset.info.get(schema.INGEST_INFO) or []
    return [{**problem, "sample": None, "stage": "ingest", "member": None} for problem in problems]


def _counts(dataset: Dataset, path: str) -> dict[str, int]:
    """Return the number of samples with each value of a field; empty if the field is absent."""
    if dataset.get_field(path) is None:
        return {}
    counts = dataset.count_values(path)
    return {name: n for name, n in sorted(counts.items(), key=str) if name is not None}


def _exist(dataset: Dataset, name: str) -> int:
    return len(dataset.exists(name)) if dataset.get_field(name) is not None else 0


def _label_fields(dataset: Dataset) -> list[str]:
    """Return the members' label fields: all boxes but ground truth and consensus."""
    import fiftyone as fo

    fields = dataset.get_field_schema(
        ftype=fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections
    )
    ours = (schema.GROUND_TRUTH, schema.ORACLE, schema.CONSENSUS)
    return [name for name in fields if name not in ours]


def _member(dataset: Dataset, name: str) -> MemberFacts:
    from fiftyone import ViewField as F

    boxes = f"{name}.detections"
    confident = dataset.filter_labels(name, F("confidence") >= _CONFIDENT)
    return MemberFacts(
        name=name,
        images=_exist(dataset, name),
        boxes=dataset.count(boxes),
        confident=confident.count(boxes),
    )


def _consensus(dataset: Dataset) -> MemberFacts | None:
    return _member(dataset, schema.CONSENSUS) if _exist(dataset, schema.CONSENSUS) else None


def _pool(dataset: Dataset, batch: Mapping[str, Sequence[Any]]) -> list[float]:
    """Return the hardness of the scored samples that round_ round could choose from."""
    columns = reader.read_columns(queries.pool(dataset), [schema.HARDNESS])
    pool = dict(zip(columns["id"], columns[schema.HARDNESS], strict=True))
    pool |= zip(batch["id"], batch[schema.HARDNESS], strict=True)  # these may be labeled by now
    return [value for value in pool.values() if value is not None]


def _by_arm(
    tags: Sequence[Sequence[str]], hardness: Sequence[float | None]
) -> dict[str, list[float | None]]:
    by_arm: dict[str, list[float | None]] = {}
    for sample_tags, value in zip(tags, hardness, strict=True):
        by_arm.setdefault(_arm(sample_tags), []).append(value)
    return {arm: by_arm[arm] for arm in cells.ordered_arms(by_arm)}


def _arm(tags: Sequence[str]) -> str:
    return tasks.arm_of(tags) or "by hand"


def _examples(
    batch: DatasetView, columns: Mapping[str, Sequence[Any]], taxonomy: Taxonomy | None
) -> tuple[Chosen, ...]:
    """Return the first few samples of each arm, by rank."""
    by_arm: dict[str, list[tuple[int, str]]] = {}
    rows = zip(columns["tags"], columns[schema.RANK], columns["id"], strict=True)
    for tags, rank, sample_id in rows:
        by_arm.setdefault(_arm(tags), []).append((rank or 0, sample_id))
    first = [
        sample_id
        for arm in cells.ordered_arms(by_arm)
        for _, sample_id in sorted(by_arm[arm])[:_EXAMPLES]
    ]
    if not first:
        return ()
    view = batch.select(first)
    names = ["filepath", "tags", schema.RANK, schema.HARDNESS, schema.CHOSEN_BECAUSE]
    facts = reader.read_columns(view, names)
    truths = _boxes(view, schema.GROUND_TRUTH, taxonomy)
    consensus = _boxes(view, schema.CONSENSUS, taxonomy)
    chosen = {
        sample_id: Chosen(
            filepath=facts["filepath"][i],
            arm=_arm(facts["tags"][i]),
            rank=facts[schema.RANK][i] or 0,
            hardness=facts[schema.HARDNESS][i],
            because=facts[schema.CHOSEN_BECAUSE][i] or "",
            truth=truths.get(sample_id),
            consensus=consensus.get(sample_id, Detections.empty()),
        )
        for i, sample_id in enumerate(facts["id"])
    }
    return tuple(chosen[sample_id] for sample_id in first)


def _boxes(view: DatasetView, name: str, taxonomy: Taxonomy | None) -> dict[str, Detections]:
    """Return the boxes of a field by sample, for the samples that have it."""
    if taxonomy is None or view.get_field(name) is None:
        return {}
    labeled = view.exists(name)
    ids, _ = collection.ids_and_paths(labeled)
    return dict(zip(ids, reader.read_detections(labeled, name, taxonomy), strict=True))


def _projection(dataset: Dataset, chosen: Set[str]) -> Projection | None:
    if not dataset.has_brain_run(schema.UMAP):
        return None
    results = dataset.load_brain_results(schema.UMAP)
    ids = [str(sample_id) for sample_id in results.sample_ids]
    columns = reader.read_columns(dataset, [schema.HARDNESS])
    hardness = dict(zip(columns["id"], columns[schema.HARDNESS], strict=True))
    return Projection(
        xy=np.asarray(results.points, np.float64),
        hardness=np.array([hardness.get(i) for i in ids], np.float64),  # None becomes NaN
        chosen=np.array([i in chosen for i in ids], bool),
    )
