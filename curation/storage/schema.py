"""Fields, tags, brain keys and sidebar groups of a dataset.

Each field is declared before the first write: the App does not show raw documents in an
undeclared field, and growing a schema during a write is slow.

Every label field written by a model carries a `fingerprint`, a hash of everything that
determines its content. It is part of the same `$set` as the labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cascade.registry import Tier
from cascade.taxonomy import Taxonomy

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

GROUND_TRUTH = "ground_truth"  # confirmed by a person or a named oracle
ORACLE = "oracle"  # held-back ground truth; only the labeler of this name reads it
PUSHED = "pushed {}"  # info key: the labeler that got the tasks of a round
LABELED_ROUND = "labeled_round"  # int, the round that labeled the sample; 0 came with the data

CONSENSUS = "consensus"
ADJUDICATION = "adjudication"  # a language model's decision on a doubtful sample, with its trace
AGREEMENT = "agreement"  # weighted share of the voters on the fused side, in [0, 1]
N_VOTERS = "n_voters"

HARDNESS = "hardness"  # in [0, 1]; higher is harder
HARDNESS_EXISTENCE = "hardness_existence"
HARDNESS_CLASS = "hardness_class"
HARDNESS_LOCATION = "hardness_location"
HARDNESS_MARGIN = "hardness_margin"
HARDNESS_IMAGE = "hardness_image"
EXPECTED_BOXES = "expected_boxes"  # objects that labeling will probably find
HARDNESS_PARTS = (
    HARDNESS_EXISTENCE,
    HARDNESS_CLASS,
    HARDNESS_LOCATION,
    HARDNESS_MARGIN,
    HARDNESS_IMAGE,
)

PATH = "cascade_path"  # path after the detectors: stop, fast_a, fast_b, precision
TIERS_REACHED = "tiers_reached"  # tiers that examined the sample, in order
ANSWERED_BY = "answered_by"  # last tier that contributed to the image decision

RANK = "rank"  # 1 is labeled first
CHOSEN_BECAUSE = "chosen_because"

SPLIT = "split"  # train, val or test
DRIVE = "drive"  # drive or source photograph; splits and bootstraps keep it together
TIME_S = "time_s"  # seconds since the start of the drive
TIME_OF_DAY = "time_of_day"  # day or night
WEATHER = "weather"  # clear, rain, glare, ...
FOCAL_PX = "focal_px"  # focal length of the camera in pixels of the image; None if unknown
LUMA = "luma"  # mean luminance of the image, in [0, 1]; a street at night is under 0.25
CONTENT_HASH = "content_hash"  # sha256 of the file, hex; set by ingest
FAILURES = "failures"  # failed predictions of the sample, by stage and member

FINGERPRINT = "fingerprint"  # attribute of a label field: `tiny_center.fingerprint`

DUPLICATE = "duplicate"  # tag: another sample has exactly the same bytes
NEAR_DUPLICATE = "near-duplicate"  # tag: left out of a batch because a similar sample is in it
LABEL_PROBLEM = "label-problem"  # tag: malformed rows of its label file were left out

SIMILARITY = "similarity"  # brain key
UMAP = "umap"  # brain key

INFO = "curation"  # `dataset.info[INFO]`: the taxonomy and the origin of the dataset
INGEST_INFO = "ingest"  # `dataset.info[INGEST_INFO]`: files and label rows left out, with reasons
COSTS = "costs"  # `dataset.info[INFO][COSTS]`: time per image of each member, and its paths
EMBEDDER_INFO = "embedder"  # `dataset.info[EMBEDDER_INFO]`: the embedder of the stored vectors

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
_FAILURE_PARTS = ("member", "stage", "error", "message")
_MEMBER_ATTRIBUTES = {"score": "FloatField", "raw_label": "StringField"}
_ANSWER_ATTRIBUTES = {"reason": "StringField", "objects": "ListField", "contradicts": "StringField"}
_ADJUDICATION_ATTRIBUTES = {"reason": "StringField", "why": "StringField", "trace": "StringField"}
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
    """Declare the fields, sidebar groups and indexes of a dataset. Idempotent.

    Further calls may add members; existing fields stay unchanged.

    Args:
        dataset: The dataset itself, not a view.
        taxonomy: Its decision names a field.
        members: Detectors; each has a label field of its name.
    """
    fields = _scalar_fields(_SCALARS) | _failure_fields()
    for name in (GROUND_TRUTH, ORACLE):
        fields |= _label_fields(name, "Detections", {}, fingerprint=False)
    for name in members:
        fields |= _label_fields(name, "Detections", _MEMBER_ATTRIBUTES)
    fields |= _label_fields(CONSENSUS, "Detections", _CONSENSUS_ATTRIBUTES)
    fields |= _label_fields(taxonomy.decision.name, "Classification", {})
    _add_fields(dataset, fields)
    _arrange_sidebar(dataset, taxonomy, members)
    _create_indexes(dataset, _INDEXED)


def declare_deep_tiers(
    dataset: Dataset,
    taxonomy: Taxonomy,
    members: Sequence[str],
    deep_tiers: Mapping[Tier, Sequence[str]],
) -> None:
    """Declare the label fields of the deep tiers, one per member.

    Args:
        dataset: A dataset on which `declare` was called.
        taxonomy: The taxonomy of that call.
        members: The detectors of that call.
        deep_tiers: Members of the tiers `geometry`, `segmentation` and `language`.
    """
    fields: dict[str, dict[str, Any]] = {}
    for name in deep_tiers["geometry"]:
        fields |= _label_fields(name, "Heatmap", _DEPTH_ATTRIBUTES)
    for name in deep_tiers["segmentation"]:
        fields |= _label_fields(name, "Detections", _MEMBER_ATTRIBUTES)
    for name in deep_tiers["language"]:
        fields |= _label_fields(name, "Classification", _ANSWER_ATTRIBUTES)
    _add_fields(dataset, fields)
    _arrange_sidebar(dataset, taxonomy, members, deep_tiers)


def declare_adjudication(dataset: Dataset) -> None:
    """Declare the field of the adjudicator."""
    fields = _label_fields(ADJUDICATION, "Classification", _ADJUDICATION_ATTRIBUTES)
    _add_fields(dataset, fields)


def declare_hardness(dataset: Dataset) -> None:
    """Declare and index the fields of scoring, for datasets without other fields of ours."""
    _add_fields(dataset, _scalar_fields([HARDNESS, *HARDNESS_PARTS, N_VOTERS, EXPECTED_BOXES]))
    _create_indexes(dataset, [HARDNESS])


def declare_choice(dataset: Dataset) -> None:
    """Declare the fields of choosing."""
    _add_fields(dataset, _scalar_fields([RANK, CHOSEN_BECAUSE]))


def sidebar_groups(
    taxonomy: Taxonomy,
    members: Sequence[str],
    existing: Iterable[tuple[str, Sequence[str]]],
    deep_tiers: Mapping[Tier, Sequence[str]] | None = None,
) -> list[tuple[str, list[str]]]:
    """Return the name and paths of the sidebar's groups: ours by tier, after other groups.

    Our paths move into our groups; members declared earlier stay; empty groups are dropped.
    """
    ours: dict[str, list[str]] = {
        "ground truth": [GROUND_TRUTH, ORACLE, LABELED_ROUND],
        "detection": list(members),
        **{tier: list(names) for tier, names in (deep_tiers or {}).items()},
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
    others = []
    for name, paths in existing:
        remaining = [path for path in paths if path not in placed]
        if name in ours:
            ours[name] = remaining + ours[name]
        elif remaining:
            others.append((name, remaining))
    return others + [(name, paths) for name, paths in ours.items() if paths]


def is_declared(dataset: Dataset, name: str) -> bool:
    """Return whether we declared a scalar field of a dataset, judged by its description."""
    field = dataset.get_field(name)
    return field is not None and name in _SCALARS and field.description == _SCALARS[name][1]


def answer_fields(dataset: Dataset) -> list[str]:
    """Return the fields with answers of language members, in the order of the schema."""
    schema = dataset.get_field_schema(flat=True)
    return [path.rpartition(".")[0] for path in schema if path.endswith(".contradicts")]


def contradicting_samples(dataset: Dataset) -> DatasetView:
    """Return the samples on which a language member contradicts the other tiers."""
    paths = [f"{name}.contradicts" for name in answer_fields(dataset)]
    return dataset.match({"$or": [{path: {"$ne": None}} for path in paths]})


def _add_fields(dataset: Dataset, fields: Mapping[str, Mapping[str, Any]]) -> None:
    """Declare fields, `{path: arguments of `add_sample_field`}`; existing fields stay.

    All fields of a depth are added in one call: `add_sample_field` reloads the dataset each
    time, which takes seconds for thirty fields.
    """
    from fiftyone.core import odm

    new = {path: kind for path, kind in fields.items() if dataset.get_field(path) is None}
    for depth in sorted({path.count(".") for path in new}):  # a field before its attributes
        dataset._merge_sample_field_schema(
            {
                path: odm.create_field(path.rpartition(".")[2], **kind)
                for path, kind in new.items()
                if path.count(".") == depth
            }
        )


def _create_indexes(dataset: Dataset, names: Iterable[str]) -> None:
    indexed = set(dataset.list_indexes())
    for name in names:
        if name not in indexed:
            dataset.create_index(name)


def _field_type(kind: str) -> dict[str, Any]:
    import fiftyone as fo

    subfield = {"subfield": fo.StringField} if kind == "ListField" else {}
    return {"ftype": getattr(fo, kind), **subfield}


def _scalar_fields(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    return {
        name: _field_type(_SCALARS[name][0]) | {"description": _SCALARS[name][1]} for name in names
    }


def _label_fields(
    name: str, label: str, attributes: Mapping[str, str], *, fingerprint: bool = True
) -> dict[str, dict[str, Any]]:
    """Return a label field, its fingerprint, and its attributes: of each box, for Detections."""
    import fiftyone as fo

    fields: dict[str, dict[str, Any]] = {
        name: {"ftype": fo.EmbeddedDocumentField, "embedded_doc_type": getattr(fo, label)}
    }
    if fingerprint:
        fields[f"{name}.{FINGERPRINT}"] = _field_type("StringField")
    parent = f"{name}.detections" if label == "Detections" else name
    return fields | {f"{parent}.{path}": _field_type(kind) for path, kind in attributes.items()}


def _failure_fields() -> dict[str, dict[str, Any]]:
    import fiftyone as fo

    failures = {
        "ftype": fo.ListField,
        "subfield": fo.EmbeddedDocumentField,
        "embedded_doc_type": fo.DynamicEmbeddedDocument,
        "description": "What went wrong with this sample",
    }
    parts = {f"{FAILURES}.{part}": _field_type("StringField") for part in _FAILURE_PARTS}
    return {FAILURES: failures, **parts}


def _arrange_sidebar(
    dataset: Dataset,
    taxonomy: Taxonomy,
    members: Sequence[str],
    deep_tiers: Mapping[Tier, Sequence[str]] | None = None,
) -> None:
    import fiftyone as fo

    current = dataset.app_config.sidebar_groups
    if current is None:
        current = fo.DatasetAppConfig.default_sidebar_groups(dataset)
    before = [(group.name, list(group.paths)) for group in current]
    after = sidebar_groups(taxonomy, members, before, deep_tiers)
    if after != before:
        expanded = {group.name: group.expanded for group in current}
        dataset.app_config.sidebar_groups = [
            fo.SidebarGroupDocument(name=name, paths=paths, expanded=expanded.get(name))
            for name, paths in after
        ]
        dataset.save()
