"""Every field, tag, brain key and sidebar group that a run writes, and where it shows.

A field is declared once, before the first write: raw documents written to an undeclared
field would not be seen by the App, and a field that grows while it is written is slow.

Every label field that a model writes carries a `fingerprint`: a hash of all that decided its
content. It is written in the same `$set` as the labels, so "done" is never true by half.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cascade.taxonomy import Taxonomy

if TYPE_CHECKING:
    from fiftyone import Dataset

GROUND_TRUTH = "ground_truth"  # what a person or a named oracle confirmed
ORACLE = "oracle"  # ground truth that is held back; only the labeler of that name reads it
PUSHED = "pushed {}"  # info: who was handed a round's tasks, by the round's tag
LABELED_ROUND = "labeled_round"  # int; whose labeling gave the ground truth; 0: came with the data

CONSENSUS = "consensus"
ADJUDICATION = "adjudication"  # how a language model settled what was in doubt, with its trace
AGREEMENT = "agreement"  # in [0, 1]: weighted share of the voters on the fused side
N_VOTERS = "n_voters"

HARDNESS = "hardness"  # in [0, 1]; higher is harder
HARDNESS_EXISTENCE = "hardness_existence"
HARDNESS_CLASS = "hardness_class"
HARDNESS_LOCATION = "hardness_location"
HARDNESS_MARGIN = "hardness_margin"
HARDNESS_IMAGE = "hardness_image"
EXPECTED_BOXES = "expected_boxes"  # how many objects labeling will probably find
HARDNESS_PARTS = (
    HARDNESS_EXISTENCE,
    HARDNESS_CLASS,
    HARDNESS_LOCATION,
    HARDNESS_MARGIN,
    HARDNESS_IMAGE,
)


PATH = "cascade_path"  # where the cascade goes after the detectors: stop, fast_a, fast_b, precision
TIERS_REACHED = "tiers_reached"  # the tiers that looked at the sample, in order
ANSWERED_BY = "answered_by"  # the last tier that had a say in the image decision

RANK = "rank"  # 1 is labeled first
CHOSEN_BECAUSE = "chosen_because"

SPLIT = "split"  # train, val or test
DRIVE = "drive"  # drive or source photograph: what splits and bootstraps keep together
TIME_S = "time_s"  # seconds since the drive began
TIME_OF_DAY = "time_of_day"  # day or night
WEATHER = "weather"  # clear, rain, glare, ...
FOCAL_PX = "focal_px"  # the camera's focal length in pixels of the image; none where unknown
LUMA = "luma"  # mean luminance of the image, in [0, 1]; a street at night is under 0.25
CONTENT_HASH = "content_hash"  # sha256 of the file, hex; an ingested sample has it
FAILURES = "failures"  # what went wrong with this sample, by stage and member

FINGERPRINT = "fingerprint"  # of a label field: `tiny_center.fingerprint`

DUPLICATE = "duplicate"  # tag: another sample has exactly the same bytes
NEAR_DUPLICATE = "near-duplicate"  # tag: choosing left it out, because another is like it
LABEL_PROBLEM = "label-problem"  # tag: rows of its label file were malformed and left out

SIMILARITY = "similarity"  # brain key
UMAP = "umap"  # brain key

INFO = "curation"  # `dataset.info[INFO]`: the taxonomy and how the dataset came about
INGEST_INFO = "ingest"  # `dataset.info[INGEST_INFO]`: files and label rows left out, with reasons
COSTS = "costs"  # `dataset.info[INFO][COSTS]`: what asking each member costs, and on which paths
EMBEDDER_INFO = "embedder"  # `dataset.info[EMBEDDER_INFO]`: who made the vectors

_SCALARS: Mapping[str, tuple[str, str]] = {
    SPLIT: ("StringField", "train, val or test; nothing is chosen from val or test"),
    DRIVE: ("StringField", "The drive or source photograph that the image comes from"),
    TIME_S: ("FloatField", "Seconds since the drive began"),
    TIME_OF_DAY: ("StringField", "day or night"),
    WEATHER: ("StringField", "clear, rain, glare, ..."),
    FOCAL_PX: ("FloatField", "Focal length of the camera in pixels of the image, where known"),
    LUMA: ("FloatField", "Mean luminance in [0, 1]; a street at night is under 0.25"),
    CONTENT_HASH: ("StringField", "sha256 of the file"),
    LABELED_ROUND: ("IntField", "The round that labeled it; 0 came with the data"),
    AGREEMENT: ("FloatField", "Weighted share of the voters that agree with the ensemble"),
    N_VOTERS: ("IntField", "Members with a say in the image decision"),
    PATH: ("StringField", "Where the cascade goes after the detectors"),
    TIERS_REACHED: ("ListField", "The tiers that looked at it, in order"),
    ANSWERED_BY: ("StringField", "The last tier with a say in the image decision"),
    HARDNESS: ("FloatField", "How much labeling it would teach, in [0, 1]; higher is harder"),
    HARDNESS_EXISTENCE: ("FloatField", "Disagreement on whether something is there"),
    HARDNESS_CLASS: ("FloatField", "Disagreement on what it is"),
    HARDNESS_LOCATION: ("FloatField", "Disagreement on where it is"),
    HARDNESS_MARGIN: ("FloatField", "How near the ensemble is to a coin toss"),
    HARDNESS_IMAGE: ("FloatField", "Disagreement on the image decision"),
    EXPECTED_BOXES: ("FloatField", "Objects that labeling will probably find"),
    RANK: ("IntField", "Place in the batch; 1 is labeled first"),
    CHOSEN_BECAUSE: ("StringField", "Why it was chosen"),
}
_FAILURE = ("member", "stage", "error", "message")
_MEMBER_ATTRIBUTES = {"score": "FloatField", "raw_label": "StringField"}
_ANSWER_ATTRIBUTES = {"reason": "StringField", "objects": "ListField", "contradicts": "StringField"}
_RULING_ATTRIBUTES = {"reason": "StringField", "why": "StringField", "trace": "StringField"}
_DEPTH_ATTRIBUTES = {"step": "FloatField", "unit": "StringField"}
_CONSENSUS_ATTRIBUTES = {
    "distance_m": "FloatField",
    "height_m": "FloatField",
    "plausible": "BooleanField",
    "votes": "IntField",
    "agreement": "FloatField",
    "members": "ListField",
    "hardness": "FloatField",
}
_INDEXED = (SPLIT, DRIVE, HARDNESS)


def declare(dataset: Dataset, taxonomy: Taxonomy, members: Sequence[str] = ()) -> None:
    """Declare all that a run writes on a FiftyOne dataset: fields, groups, indexes.

    May be repeated, and with further members; nothing that is there is changed.

    Args:
        dataset: The dataset itself, no view.
        taxonomy: Its decision names a field.
        members: The detectors; each gets a label field of its name.
    """
    kinds = _scalars(_SCALARS) | _failures()
    kinds |= _labels(GROUND_TRUTH, "Detections", {}) | _labels(ORACLE, "Detections", {})
    for name in members:
        kinds |= _labels(name, "Detections", _MEMBER_ATTRIBUTES, signed=True)
    kinds |= _labels(CONSENSUS, "Detections", _CONSENSUS_ATTRIBUTES, signed=True)
    kinds |= _labels(taxonomy.decision.name, "Classification", {}, signed=True)
    _add_fields(dataset, kinds)
    _arrange_sidebar(dataset, taxonomy, members)
    indexed = set(dataset.list_indexes())
    for name in _INDEXED:
        if name not in indexed:
            dataset.create_index(name)


def declare_deep_tiers(
    dataset: Dataset,
    taxonomy: Taxonomy,
    members: Sequence[str],
    closer: Mapping[str, Sequence[str]],
) -> None:
    """Declare what the tiers that look closer write, each member in a field of its name.

    Args:
        dataset: The dataset itself, on which `declare` was called.
        taxonomy: As there.
        members: The detectors, as there.
        closer: Members of the tiers `geometry`, `segmentation` and `language`.
    """
    kinds: dict[str, dict[str, Any]] = {}
    for name in closer["geometry"]:
        kinds |= _label(name, "Heatmap", _DEPTH_ATTRIBUTES)
    for name in closer["segmentation"]:
        kinds |= _labels(name, "Detections", _MEMBER_ATTRIBUTES, signed=True)
    for name in closer["language"]:
        kinds |= _label(name, "Classification", _ANSWER_ATTRIBUTES)
    _add_fields(dataset, kinds)
    _arrange_sidebar(dataset, taxonomy, members, closer)


def declare_adjudication(dataset: Dataset) -> None:
    """Declare what settling doubtful samples writes beside the image decision."""
    _add_fields(dataset, _label(ADJUDICATION, "Classification", _RULING_ATTRIBUTES))


def declare_hardness(dataset: Dataset) -> None:
    """Declare what scoring writes, and index it; for datasets that nothing of ours has run on."""
    _add_fields(dataset, _scalars([HARDNESS, *HARDNESS_PARTS, N_VOTERS, EXPECTED_BOXES]))
    if HARDNESS not in set(dataset.list_indexes()):
        dataset.create_index(HARDNESS)


def declare_choice(dataset: Dataset) -> None:
    """Declare what choosing writes beside tags."""
    _add_fields(dataset, _scalars([RANK, CHOSEN_BECAUSE]))


def groups(
    taxonomy: Taxonomy,
    members: Sequence[str],
    existing: Iterable[tuple[str, Sequence[str]]],
    closer: Mapping[str, Sequence[str]] | None = None,
) -> list[tuple[str, list[str]]]:
    """Return the sidebar's groups, name and paths: ours by tier after those that exist.

    A path of ours that stands elsewhere moves; a member that was declared before stays; a
    group without paths goes.
    """
    ours = {
        "ground truth": [GROUND_TRUTH, ORACLE, LABELED_ROUND],
        "detection": list(members),
        **{tier: list(names) for tier, names in (closer or {}).items()},
        "consensus": [
            CONSENSUS,
            taxonomy.decision.name,
            AGREEMENT,
            N_VOTERS,
            PATH,
            TIERS_REACHED,
            ANSWERED_BY,
        ],
        "hardness": [HARDNESS, *HARDNESS_PARTS, EXPECTED_BOXES],
        "choice": [RANK, CHOSEN_BECAUSE],
        "slices": [SPLIT, DRIVE, TIME_S, TIME_OF_DAY, WEATHER, LUMA, FOCAL_PX],
        "records": [FAILURES, CONTENT_HASH],
    }
    placed = {path for paths in ours.values() for path in paths}
    arranged = []
    for name, paths in existing:
        kept = [path for path in paths if path not in placed]
        if name in ours:
            ours[name] = kept + ours[name]
        elif kept:
            arranged.append((name, kept))
    return arranged + [(name, paths) for name, paths in ours.items() if paths]


def is_declared(dataset: Dataset, name: str) -> bool:
    """Return whether a scalar field of a dataset is one that we declared: it bears our words."""
    found = dataset.get_field(name)
    return found is not None and name in _SCALARS and found.description == _SCALARS[name][1]


def answer_fields(dataset: Dataset) -> list[str]:
    """Return the fields in which language members answer, in the order of the schema."""
    schema = dataset.get_field_schema(flat=True)
    return [path.rpartition(".")[0] for path in schema if path.endswith(".contradicts")]


def contradicting_samples(dataset: Dataset) -> Any:
    """Return the view of samples on which a language member contradicts the other tiers."""
    paths = [f"{name}.contradicts" for name in answer_fields(dataset)]
    return dataset.match({"$or": [{path: {"$ne": None}} for path in paths]})


def _add_fields(dataset: Dataset, kinds: Mapping[str, Mapping[str, Any]]) -> None:
    """Declare fields, `{path: arguments of `add_sample_field`}`; those that exist stay.

    All at once: one by one, each reloads the dataset, and thirty of them take seconds.
    """
    from fiftyone.core import odm

    new = {path: kind for path, kind in kinds.items() if dataset.get_field(path) is None}
    for depth in sorted({path.count(".") for path in new}):  # a field before its attributes
        dataset._merge_sample_field_schema(
            {
                path: odm.create_field(path.rpartition(".")[2], **kind)
                for path, kind in new.items()
                if path.count(".") == depth
            }
        )


def _scalars(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    import fiftyone as fo

    return {
        name: {
            "ftype": getattr(fo, _SCALARS[name][0]),
            "description": _SCALARS[name][1],
            **({"subfield": fo.StringField} if _SCALARS[name][0] == "ListField" else {}),
        }
        for name in names
    }


def _labels(
    name: str, label: str, attributes: Mapping[str, str], *, signed: bool = False
) -> dict[str, dict[str, Any]]:
    """Return a label field, the attributes of its boxes, and its fingerprint when `signed`."""
    import fiftyone as fo

    kinds: dict[str, dict[str, Any]] = {
        name: {"ftype": fo.EmbeddedDocumentField, "embedded_doc_type": getattr(fo, label)}
    }
    for attribute, kind in attributes.items():
        subfield = {"subfield": fo.StringField} if kind == "ListField" else {}
        kinds[f"{name}.detections.{attribute}"] = {"ftype": getattr(fo, kind), **subfield}
    if signed:
        kinds[f"{name}.{FINGERPRINT}"] = {"ftype": fo.StringField}
    return kinds


def _label(name: str, label: str, attributes: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return a field of one label, its attributes, and its fingerprint."""
    import fiftyone as fo

    kinds: dict[str, dict[str, Any]] = {
        name: {"ftype": fo.EmbeddedDocumentField, "embedded_doc_type": getattr(fo, label)},
        f"{name}.{FINGERPRINT}": {"ftype": fo.StringField},
    }
    for attribute, kind in attributes.items():
        subfield = {"subfield": fo.StringField} if kind == "ListField" else {}
        kinds[f"{name}.{attribute}"] = {"ftype": getattr(fo, kind), **subfield}
    return kinds


def _failures() -> dict[str, dict[str, Any]]:
    import fiftyone as fo

    parts = {f"{FAILURES}.{part}": {"ftype": fo.StringField} for part in _FAILURE}
    whole = {
        "ftype": fo.ListField,
        "subfield": fo.EmbeddedDocumentField,
        "embedded_doc_type": fo.DynamicEmbeddedDocument,
        "description": "What went wrong with this sample",
    }
    return {FAILURES: whole, **parts}


def _arrange_sidebar(
    dataset: Dataset,
    taxonomy: Taxonomy,
    members: Sequence[str],
    closer: Mapping[str, Sequence[str]] | None = None,
) -> None:
    import fiftyone as fo

    shown = dataset.app_config.sidebar_groups
    if shown is None:
        shown = fo.DatasetAppConfig.default_sidebar_groups(dataset)
    before = [(group.name, list(group.paths)) for group in shown]
    after = groups(taxonomy, members, before, closer)
    if after != before:
        expanded = {group.name: group.expanded for group in shown}
        dataset.app_config.sidebar_groups = [
            fo.SidebarGroupDocument(name=name, paths=paths, expanded=expanded.get(name))
            for name, paths in after
        ]
        dataset.save()
