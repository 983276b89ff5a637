"""Removal of the fields of a stage. Data that we did not write is never touched.

A field is ours if it has our description, or if its labels have a fingerprint and the dataset's
info names it. In a field that holds labels of others too, only our labels are removed. Ground
truth belongs to no stage: to remove it, withdraw the round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from curation.app.operators import options
from curation.errors import StageError
from curation.storage import schema

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

Stage = Literal["predict", "embed", "score", "review", "compare"]

_DEEP_TIERS = ("geometry", "segmentation", "language")
_REVIEW = "review"  # field, tag and saved view of `stages.review`
_REVIEW_FIELDS = (_REVIEW, "review_score", "review_reasons")
_REVIEW_DESCRIPTION = "Boxes that look wrong"  # as `stages.review` declares its field
_VERSION = "__v"  # infix of the fields of `stages.compare`


@dataclass(frozen=True)
class StageTraces:
    """Data that a stage left on a dataset.

    Attributes:
        stage: The stage.
        fields: Fields that are ours alone, with the number of samples that have a value.
        shared_fields: Label fields with labels of others, with the number of samples with ours.
        foreign_fields: Fields of others with a name that we use; these are kept.
        brain_runs: Keys of brain runs.
        views: Saved views.
        tags: Sample tags.
        info_keys: Keys of the dataset's info.
    """

    stage: Stage
    fields: Mapping[str, int] = field(default_factory=dict)
    shared_fields: Mapping[str, int] = field(default_factory=dict)
    foreign_fields: tuple[str, ...] = ()
    brain_runs: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    info_keys: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not (self.fields or self.shared_fields or self.brain_runs or self.views or self.tags)


def find_traces(dataset: Dataset, stage: Stage) -> StageTraces:
    """Return the data that a stage left on a dataset, without changing it.

    Raises:
        StageError: The stage cannot be undone.
    """
    if stage not in _FINDERS:
        raise StageError(f"Cannot undo {stage!r}. Choose one of {', '.join(_FINDERS)}.")
    return _FINDERS[stage](dataset)


def undoable_stages(dataset: Dataset) -> dict[Stage, StageTraces]:
    """Return the stages that left data on a dataset."""
    traces = {stage: find(dataset) for stage, find in _FINDERS.items()}
    return {stage: left for stage, left in traces.items() if not left.is_empty}


def undo(dataset: Dataset, stage: Stage) -> StageTraces:
    """Remove the data of a stage, and return what was removed. May be repeated.

    Files stay: vectors, masks and depth maps, which the stage would reuse.

    Raises:
        StageError: The stage left nothing, or cannot be undone.
    """
    traces = find_traces(dataset, stage)
    if traces.is_empty:
        raise StageError(f"{dataset.name!r} has nothing written by {stage!r}.")
    for key in traces.brain_runs:
        dataset.delete_brain_run(key)
    for name in traces.views:
        dataset.delete_saved_view(name)
    for tag in traces.tags:
        dataset.match_tags(tag).untag_samples(tag)
    for name in traces.shared_fields:
        _with_our_labels(dataset, name).set_field(name, None).save(name)
    if traces.fields:
        for index in set(dataset.list_indexes()).intersection(traces.fields):
            dataset.drop_index(index)
        dataset.delete_sample_fields(list(traces.fields))
    _delete_info(dataset, traces.info_keys)
    return traces


def _find_predict(dataset: Dataset) -> StageTraces:
    members = options.read_info(dataset, "members") or {}
    costs = options.read_info(dataset, schema.COSTS) or {}
    if not members:
        return StageTraces("predict")
    deep = [name for name, cost in costs.items() if cost.get("tier") in _DEEP_TIERS]
    labels = [*members, *deep, schema.CONSENSUS, schema.ADJUDICATION, *_decision_field(dataset)]
    scalars = (
        schema.AGREEMENT, schema.N_VOTERS, schema.PATH, schema.TIERS_REACHED, schema.ANSWERED_BY,
    )  # fmt: skip
    traces = _find_fields(dataset, "predict", labels=labels, scalars=scalars)
    return replace(traces, info_keys=("members", schema.COSTS))


def _find_score(dataset: Dataset) -> StageTraces:
    if options.read_info(dataset, "score") is None:
        return StageTraces("score")
    scalars = (schema.HARDNESS, *schema.HARDNESS_PARTS, schema.EXPECTED_BOXES)
    return replace(_find_fields(dataset, "score", scalars=scalars), info_keys=("score",))


def _find_embed(dataset: Dataset) -> StageTraces:
    if not dataset.info.get(schema.EMBEDDER_INFO):
        return StageTraces("embed")
    keys = tuple(key for key in (schema.SIMILARITY, schema.UMAP) if dataset.has_brain_run(key))
    return StageTraces("embed", brain_runs=keys, info_keys=(schema.EMBEDDER_INFO,))


def _find_review(dataset: Dataset) -> StageTraces:
    present = dataset.get_field_schema()
    if _REVIEW not in present or not (present[_REVIEW].description or "").startswith(
        _REVIEW_DESCRIPTION
    ):
        return StageTraces("review")
    return StageTraces(
        "review",
        fields={name: _count(dataset, name) for name in _REVIEW_FIELDS if name in present},
        views=(_REVIEW,) if dataset.has_saved_view(_REVIEW) else (),
        tags=(_REVIEW,),
    )


def _find_compare(dataset: Dataset) -> StageTraces:
    paths = dataset.get_field_schema(flat=True)
    labels = [
        name
        for name in dataset.get_field_schema()
        if name.rpartition(_VERSION)[2].isdecimal() and f"{name}.{schema.FINGERPRINT}" in paths
    ]
    views = [
        name for name in dataset.list_saved_views() if name.startswith("v") and " against v" in name
    ]
    traces = _find_fields(dataset, "compare", labels=labels)
    return replace(traces, views=tuple(views) if labels else ())


_FINDERS: Mapping[Stage, Callable[[Dataset], StageTraces]] = {
    "predict": _find_predict,
    "embed": _find_embed,
    "score": _find_score,
    "review": _find_review,
    "compare": _find_compare,
}


def _find_fields(
    dataset: Dataset, stage: Stage, *, labels: Iterable[str] = (), scalars: Iterable[str] = ()
) -> StageTraces:
    """Sort the candidate fields into ours, shared and foreign ones."""
    present = dataset.get_field_schema()
    fields: dict[str, int] = {}
    shared: dict[str, int] = {}
    foreign: list[str] = []
    for name in (label for label in labels if label in present):
        has_fingerprint = dataset.get_field(f"{name}.{schema.FINGERPRINT}") is not None
        ours = len(_with_our_labels(dataset, name)) if has_fingerprint else 0
        if _count(dataset, name) > ours:
            shared |= {name: ours} if ours else {}
            foreign.append(name)
        elif has_fingerprint:
            fields[name] = ours
    for name in (scalar for scalar in scalars if scalar in present):
        if schema.is_declared(dataset, name):
            fields[name] = _count(dataset, name)
        else:
            foreign.append(name)
    return StageTraces(stage, fields, shared, tuple(foreign))


def _with_our_labels(dataset: Dataset, name: str) -> DatasetView:
    """Return the samples whose labels in a field have a fingerprint."""
    return dataset.match({f"{name}.{schema.FINGERPRINT}": {"$ne": None}})


def _count(dataset: Dataset, name: str) -> int:
    return int(dataset.exists(name).count())


def _decision_field(dataset: Dataset) -> list[str]:
    """Return the field of the image decision, a Classification with a fingerprint, if any."""
    import fiftyone as fo

    others = {*schema.answer_fields(dataset), schema.ADJUDICATION}
    for name in dataset.get_field_schema(embedded_doc_type=fo.Classification):
        has_fingerprint = dataset.get_field(f"{name}.{schema.FINGERPRINT}") is not None
        if name not in others and _VERSION not in name and has_fingerprint:
            return [str(name)]
    return []


def _delete_info(dataset: Dataset, keys: Iterable[str]) -> None:
    """Delete keys of the dataset's info, which restarts the stage from the beginning."""
    info = dict(dataset.info.get(schema.INFO) or {})
    for key in keys:
        info.pop(key, None)
        if key == schema.EMBEDDER_INFO:
            dataset.info.pop(key, None)
    dataset.info[schema.INFO] = info
    dataset.save()
