"""Which fields a stage wrote, and taking them back. What we did not write is never touched.

A field is ours where it bears our description, or where its labels bear the fingerprint of what
made them and the note on the dataset names it. A field in which we wrote beside others loses our
labels only. What a person confirmed is no field of a stage: to take that back, withdraw the round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from curation.app.operators import options
from curation.errors import StageError
from curation.storage import schema as fields

if TYPE_CHECKING:
    from fiftyone import Dataset

Stage = Literal["predict", "embed", "score", "review", "compare"]

_DEEPER = ("geometry", "segmentation", "language")  # tiers that look closer
_REVIEW = ("review", "review_score", "review_reasons")  # of `stages.review`
_VERSION = "__v"  # in the names of fields that `stages.compare` writes


@dataclass(frozen=True)
class Traces:
    """What a stage left on a dataset.

    Attributes:
        stage: Which.
        whole: Fields that are ours alone, each with how many samples have a value.
        shared: Label fields that hold labels of others, too: with how many samples hold ours.
        kept: Fields of names that we use, which somebody else made: these stay.
        brain_runs: Keys of FiftyOne's brain.
        views: Saved views.
        tags: Tags of samples.
        notes: Keys of what was noted with the dataset.
    """

    stage: Stage
    whole: Mapping[str, int] = field(default_factory=dict)
    shared: Mapping[str, int] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    brain_runs: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take back."""
        return not (self.whole or self.shared or self.brain_runs or self.views or self.tags)


def traces(dataset: Dataset, stage: Stage) -> Traces:
    """Return what a stage left on a dataset; nothing is changed."""
    if stage not in _FINDERS:
        raise StageError(f"Nothing of {stage!r} can be taken back, only of {', '.join(_FINDERS)}.")
    return _FINDERS[stage](dataset)


def undoable(dataset: Dataset) -> dict[Stage, Traces]:
    """Return the stages that left anything on a dataset."""
    found = {stage: find(dataset) for stage, find in _FINDERS.items()}
    return {stage: one for stage, one in found.items() if not one.is_empty}


def undo(dataset: Dataset, stage: Stage) -> Traces:
    """Take back what a stage wrote, and return what that was. May be repeated.

    Files stay: vectors, masks and depth maps, which the stage would find again.

    Raises:
        StageError: The stage left nothing, or is none.
    """
    found = traces(dataset, stage)
    if found.is_empty:
        raise StageError(f"{dataset.name!r} holds nothing that {stage!r} wrote.")
    for key in found.brain_runs:
        dataset.delete_brain_run(key)
    for name in found.views:
        dataset.delete_saved_view(name)
    for tag in found.tags:
        dataset.match_tags(tag).untag_samples(tag)
    for name in found.shared:
        _ours(dataset, name).set_field(name, None).save(name)
    if found.whole:
        indexed = set(dataset.list_indexes()).intersection(found.whole)
        for name in indexed:
            dataset.drop_index(name)
        dataset.delete_sample_fields(list(found.whole))
    _forget(dataset, found)
    return found


def _predict(dataset: Dataset) -> Traces:
    members = dict(options.info(dataset, "members") or {})
    costs = dict(options.info(dataset, fields.COSTS) or {})
    deeper = [name for name, one in costs.items() if one.get("tier") in _DEEPER]
    decision = _decision(dataset)
    labels = [
        *members,
        *deeper,
        fields.CONSENSUS,
        fields.ADJUDICATION,
        *([decision] if decision else []),
    ]
    scalars = (
        fields.AGREEMENT,
        fields.N_VOTERS,
        fields.PATH,
        fields.TIERS_REACHED,
        fields.ANSWERED_BY,
    )
    if not members:
        return Traces("predict")
    return _traces(
        dataset, "predict", labels=labels, scalars=scalars, notes=("members", fields.COSTS)
    )


def _score(dataset: Dataset) -> Traces:
    scalars = (fields.HARDNESS, *fields.HARDNESS_PARTS, fields.EXPECTED_BOXES)
    if options.info(dataset, "score") is None:
        return Traces("score")
    return _traces(dataset, "score", scalars=scalars, notes=("score",))


def _embed(dataset: Dataset) -> Traces:
    if not dataset.info.get(fields.EMBEDDER_INFO):
        return Traces("embed")
    keys = tuple(key for key in (fields.SIMILARITY, fields.UMAP) if dataset.has_brain_run(key))
    return Traces("embed", brain_runs=keys, notes=(fields.EMBEDDER_INFO,))


def _review(dataset: Dataset) -> Traces:
    schema = dataset.get_field_schema()
    ours = (schema[_REVIEW[0]].description or "") if _REVIEW[0] in schema else ""
    if not ours.startswith("Boxes that look wrong"):  # as `stages.review` declares it
        return Traces("review")
    return Traces(
        "review",
        whole={name: _count(dataset, name) for name in _REVIEW if name in schema},
        views=tuple(one for one in _REVIEW[:1] if dataset.has_saved_view(one)),
        tags=_REVIEW[:1],
    )


def _compare(dataset: Dataset) -> Traces:
    schema = dataset.get_field_schema(flat=True)
    labels = [
        name
        for name in dataset.get_field_schema()
        if name.rpartition(_VERSION)[2].isdecimal() and f"{name}.{fields.FINGERPRINT}" in schema
    ]
    found = _traces(dataset, "compare", labels=labels)
    views = tuple(
        one for one in dataset.list_saved_views() if one.startswith("v") and " against v" in one
    )
    return Traces("compare", found.whole, found.shared, found.kept, views=views if labels else ())


_FINDERS: Mapping[Stage, Callable[[Any], Traces]] = {
    "predict": _predict,
    "embed": _embed,
    "score": _score,
    "review": _review,
    "compare": _compare,
}


def _traces(
    dataset: Dataset,
    stage: Stage,
    *,
    labels: Any = (),
    scalars: Any = (),
    notes: tuple[str, ...] = (),
) -> Traces:
    schema = dataset.get_field_schema()
    whole: dict[str, int] = {}
    shared: dict[str, int] = {}
    kept: list[str] = []
    for name in (one for one in labels if one in schema):
        signed = dataset.get_field(f"{name}.{fields.FINGERPRINT}") is not None
        ours = len(_ours(dataset, name)) if signed else 0
        theirs = _count(dataset, name) - ours
        if theirs:
            shared |= {name: ours} if ours else {}
            kept.append(name)
        elif signed:
            whole[name] = ours
    for name in (one for one in scalars if one in schema):
        if fields.is_declared(dataset, name):
            whole[name] = _count(dataset, name)
        else:
            kept.append(name)
    return Traces(stage, whole, shared, tuple(kept), notes=notes)


def _ours(dataset: Dataset, name: str) -> Any:
    """Return the view of samples whose labels in a field are ours."""
    return dataset.match({f"{name}.{fields.FINGERPRINT}": {"$ne": None}})


def _count(dataset: Dataset, name: str) -> int:
    return int(dataset.exists(name).count())


def _decision(dataset: Dataset) -> str:
    """Return the field of the image decision: the Classification with a fingerprint."""
    import fiftyone as fo

    classified = dataset.get_field_schema(embedded_doc_type=fo.Classification)
    answers = set(fields.answer_fields(dataset))
    for name in classified:
        of_another = name in answers or _VERSION in name or name == fields.ADJUDICATION
        if not of_another and dataset.get_field(f"{name}.{fields.FINGERPRINT}") is not None:
            return str(name)
    return ""


def _forget(dataset: Dataset, found: Traces) -> None:
    """Take back the notes, so that the stage begins anew."""
    noted = dict(dataset.info.get(fields.INFO) or {})
    for key in found.notes:
        noted.pop(key, None)
        if key == fields.EMBEDDER_INFO:
            dataset.info.pop(key, None)
    dataset.info[fields.INFO] = noted
    dataset.save()
