"""Write a round's page, and the same for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.predictions import Detections
from cascade.runtime.atomic_files import replace_text
from cascade.taxonomy import Taxonomy
from curation.labeling import tasks
from curation.report import cells, compose
from curation.report.facts import Chosen, Facts, MemberCost, MemberFacts, Projection, read_story
from curation.report.page import Page
from curation.storage import collection, queries, reader, rounds, schema
from curation.storage.rounds import Round

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView
    from rich.console import RenderableType

    from curation.settings import Settings

PAGE = "report.html"
_SHOWN = 8  # of an arm: two rows of four
_SURE = 0.5


def report(dataset: Dataset, this: Round, settings: Settings) -> Path:
    """Write the round's page as one HTML file that needs nothing else; return its path.

    What did not run is said in words, so that a dataset that was only predicted and ranked has
    a page, too. An earlier page of the round is replaced.

    Args:
        dataset: The FiftyOne dataset.
        this: The round; what it left in its folder is told, as far as it went.
        settings: Where the earlier rounds are.

    Raises:
        StageError: A file that the round left cannot be read.
    """
    from curation.report.render import html

    text = html.render(_compose(dataset, this, settings))
    replace_text(this.folder / PAGE, text)
    return this.folder / PAGE


def to_terminal(dataset: Dataset, this: Round, settings: Settings) -> RenderableType:
    """Return the same as the page, for `rich` to print."""
    from curation.report.render import terminal

    return terminal.render(_compose(dataset, this, settings))


def _compose(dataset: Dataset, this: Round, settings: Settings) -> Page:
    story = read_story(this)
    earlier = [
        read_story(rounds.of_dataset(settings.home, dataset.name, number))
        for number in range(1, this.number)
    ]
    return compose.compose(_facts(dataset, this), story, earlier)


def _facts(dataset: Dataset, this: Round) -> Facts:
    taxonomy = queries.taxonomy_of(dataset)
    batch = dataset.match_tags(this.tag)
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
        shown=_shown(batch, columns, taxonomy),
        projection=_projection(dataset, set(columns["id"])),
        failures=[*_left_out(dataset), *reader.failures(dataset)],
    )


def _costs(dataset: Dataset) -> dict[str, MemberCost]:
    """Return what asking each member costs, as the stages that ran them have noted."""
    known = queries.remembered(dataset, schema.COSTS) or {}
    return {
        name: MemberCost(tier=one["tier"], ms=one["ms"], paths=tuple(one["paths"]))
        for name, one in known.items()
    }


def _contradictions(dataset: Dataset) -> int | None:
    return len(schema.contradicting(dataset)) if schema.answer_fields(dataset) else None


def _left_out(dataset: Dataset) -> list[dict[str, Any]]:
    """Return what ingest left out: files that became no sample, and rows of labels."""
    found = dataset.info.get(schema.INGEST_INFO) or []
    return [{**one, "sample": None, "stage": "ingest", "member": None} for one in found]


def _counts(dataset: Dataset, path: str) -> dict[str, int]:
    """Return how many samples have each value of a field; none where there is no such field."""
    if dataset.get_field(path) is None:
        return {}
    found = dataset.count_values(path)
    return {name: n for name, n in sorted(found.items(), key=str) if name is not None}


def _exist(dataset: Dataset, name: str) -> int:
    return len(dataset.exists(name)) if dataset.get_field(name) is not None else 0


def _label_fields(dataset: Dataset) -> list[str]:
    """Return the fields that hold what a member said: all boxes but the truth and the fused."""
    import fiftyone as fo

    found = dataset.get_field_schema(
        ftype=fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections
    )
    ours = (schema.GROUND_TRUTH, schema.ORACLE, schema.CONSENSUS)
    return [name for name in found if name not in ours]


def _member(dataset: Dataset, name: str) -> MemberFacts:
    from fiftyone import ViewField as F

    boxes = f"{name}.detections"
    sure = dataset.filter_labels(name, F("confidence") >= _SURE)
    return MemberFacts(
        name=name,
        images=_exist(dataset, name),
        boxes=dataset.count(boxes),
        sure=sure.count(boxes),
    )


def _consensus(dataset: Dataset) -> MemberFacts | None:
    return _member(dataset, schema.CONSENSUS) if _exist(dataset, schema.CONSENSUS) else None


def _pool(dataset: Dataset, batch: Mapping[str, Sequence[Any]]) -> list[float]:
    """Return the hardness of what this round could choose from, where it is known."""
    columns = reader.read_columns(queries.pool(dataset), [schema.HARDNESS])
    pool = dict(zip(columns["id"], columns[schema.HARDNESS], strict=True))
    pool |= zip(batch["id"], batch[schema.HARDNESS], strict=True)  # these may be labeled by now
    return [value for value in pool.values() if value is not None]


def _by_arm(
    tags: Sequence[Sequence[str]], hardness: Sequence[float | None]
) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {}
    for one, value in zip(tags, hardness, strict=True):
        found.setdefault(_arm(one), []).append(value)
    return {arm: found[arm] for arm in cells.in_order(found)}


def _arm(tags: Sequence[str]) -> str:
    return tasks.arm_of(tags) or "by hand"


def _shown(
    batch: Any, columns: Mapping[str, Sequence[Any]], taxonomy: Taxonomy | None
) -> tuple[Chosen, ...]:
    """Return the first few of each arm, by rank."""
    by_arm: dict[str, list[tuple[int, str]]] = {}
    for tags, rank, one in zip(columns["tags"], columns[schema.RANK], columns["id"], strict=True):
        by_arm.setdefault(_arm(tags), []).append((rank or 0, one))
    first = [one for arm in cells.in_order(by_arm) for _, one in sorted(by_arm[arm])[:_SHOWN]]
    if not first:
        return ()
    view = batch.select(first)
    wanted = ["filepath", "tags", schema.RANK, schema.HARDNESS, schema.CHOSEN_BECAUSE]
    facts = reader.read_columns(view, wanted)
    truths = _boxes(view, schema.GROUND_TRUTH, taxonomy)
    consensus = _boxes(view, schema.CONSENSUS, taxonomy)
    found = {
        one: Chosen(
            filepath=facts["filepath"][i],
            arm=_arm(facts["tags"][i]),
            rank=facts[schema.RANK][i] or 0,
            hardness=facts[schema.HARDNESS][i],
            because=facts[schema.CHOSEN_BECAUSE][i] or "",
            truth=truths.get(one),
            consensus=consensus.get(one, Detections.empty()),
        )
        for i, one in enumerate(facts["id"])
    }
    return tuple(found[one] for one in first)


def _boxes(view: DatasetView, name: str, taxonomy: Taxonomy | None) -> dict[str, Detections]:
    """Return the boxes of the samples that have such labels, by sample."""
    if taxonomy is None or view.get_field(name) is None:
        return {}
    known = view.exists(name)
    ids, _ = collection.ids_and_paths(known)
    return dict(zip(ids, reader.read_detections(known, name, taxonomy), strict=True))


def _projection(dataset: Dataset, chosen: Set[str]) -> Projection | None:
    if not dataset.has_brain_run(schema.UMAP):
        return None
    results = dataset.load_brain_results(schema.UMAP)
    ids = [str(one) for one in results.sample_ids]
    columns = reader.read_columns(dataset, [schema.HARDNESS])
    hardness = dict(zip(columns["id"], columns[schema.HARDNESS], strict=True))
    return Projection(
        xy=np.asarray(results.points, np.float64),
        hardness=np.array([hardness.get(one) for one in ids], np.float64),  # None becomes NaN
        chosen=np.array([one in chosen for one in ids], bool),
    )
