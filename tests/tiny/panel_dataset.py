"""Datasets in the state after a round, of any size, for tests of panels.

No image exists and no model runs. Members see common objects, each with some probability, so
that agreement, failures and hardness are what they are in a real dataset, only made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from bson import ObjectId

from cascade import taxonomy as taxonomies
from curation.storage import schema
from curation.storage.queries import write_info
from curation.storage.tags import arm_tag, round_name

MEMBERS = ("yolo26x", "dfine_x", "rf_detr", "tiny_center", "owlv2", "grounding_dino", "detr", "sam")
LANGUAGE = "qwen_vl"
_CHUNK = 5000
_CLASSES = ("cone", "drum", "sign", "vehicle")
_TIERS = (("detection",), ("detection", "language"), ("detection", "geometry", "language"))
_PATHS = ("stop", "fast_a", "precision")


def fill(
    dataset: Any,
    size: int,
    *,
    members: Sequence[str] = MEMBERS[:4],
    labeled: float = 0.2,
    boxes: float = 3.0,
    folder: str = "/pool",
    seed: int = 0,
) -> Any:
    """Add samples to a FiftyOne dataset that a whole round is through with; return it.

    Args:
        dataset: The dataset, empty.
        size: How many samples.
        members: Its detectors.
        labeled: The share that has ground truth.
        boxes: Mean objects of a sample.
        folder: Where the images would lie.
        seed: Of all that is drawn.
    """
    taxonomy = taxonomies.load("roadwork_core")
    schema.declare(dataset, taxonomy, members)
    schema.declare_deep_tiers(
        dataset, taxonomy, members, {"geometry": [], "segmentation": [], "language": [LANGUAGE]}
    )
    schema.declare_choice(dataset)
    rng = np.random.default_rng(seed)
    for start in range(0, size, _CHUNK):
        rows = range(start, min(start + _CHUNK, size))
        documents = [_sample(i, rng, members, labeled, boxes, folder, dataset) for i in rows]
        dataset._sample_collection.insert_many(documents)
    dataset.info[schema.INFO] = {"taxonomy": taxonomy.to_yaml()}
    costs = {
        name: {"tier": "detection", "ms": 4.0 + 3.0 * i, "paths": list(_PATHS)}
        for i, name in enumerate(members)
    }
    costs[LANGUAGE] = {"tier": "language", "ms": 210.0, "paths": list(_PATHS[1:])}
    write_info(dataset, schema.COSTS, costs)
    dataset.reload()
    return dataset


def multiply(dataset: Any, times: int) -> None:
    """Have the database copy the samples, so that there are so many times as many.

    Copies are new samples with a hardness of their own; what members saw on them is the same.
    """
    collection = dataset._sample_collection
    ids = [sample["_id"] for sample in collection.find({}, {"_id": 1})]
    for copy in range(1, times):
        collection.aggregate(
            [
                {"$match": {"_id": {"$in": ids}}},
                {"$unset": "_id"},
                {
                    "$set": {
                        "filepath": {"$concat": ["$filepath", f".{copy}.jpg"]},
                        schema.HARDNESS: {"$rand": {}},
                    }
                },
                {"$merge": {"into": collection.name}},
            ]
        )
    dataset.reload()


def place(dataset: Any, *, seed: int = 0) -> None:
    """Place the samples on a plane, as an embedding does."""
    import fiftyone.brain as fob

    ids = dataset.values("id")
    rng = np.random.default_rng(seed)
    centers = rng.normal(0, 4, (6, 2))
    points = centers[rng.integers(0, 6, len(ids))] + rng.normal(0, 1, (len(ids), 2))
    fob.compute_visualization(
        dataset, points=points, brain_key=schema.UMAP, method="manual", verbose=False
    )


def choose(dataset: Any, number: int, size: int) -> None:
    """Tag a batch as chosen by a round, with its arms."""
    ids = dataset.match({schema.SPLIT: "train"}).limit(size).values("id")
    arms = ("hard", "hard", "coverage", "slice", "random")
    for arm in dict.fromkeys(arms):
        mine = [sample_id for i, sample_id in enumerate(ids) if arms[i % len(arms)] == arm]
        dataset.select(mine).tag_samples([round_name(number), arm_tag(arm)])
    counted = {arm: sum(arms[i % 5] == arm for i in range(len(ids))) for arm in dict.fromkeys(arms)}
    write_info(
        dataset,
        f"chosen {round_name(number)}",
        {
            "pool": len(dataset), "chosen": len(ids), "arms": counted, "duplicates_dropped": 7,
            "boxes": 3.0 * len(ids), "hours": 0.01 * len(ids),
            "advice": ["Labeling this batch takes about an hour."],
        },
    )  # fmt: skip


def _sample(
    i: int,
    rng: np.random.Generator,
    members: Sequence[str],
    labeled: float,
    boxes: float,
    folder: str,
    dataset: Any,
) -> dict[str, Any]:
    n = int(rng.poisson(boxes))
    corner, extent = rng.uniform(0, 0.7, (n, 2)), rng.uniform(0.01, 0.3, (n, 2))
    objects = np.hstack([corner, extent]).round(4).tolist()
    classes = [_CLASSES[c] for c in rng.integers(0, len(_CLASSES), n)]
    night = bool(rng.random() < 0.25)
    sees = rng.random((len(members), n)) < (0.55 if night else 0.8)
    hardness = float(rng.beta(1.4, 3.0))
    way = 0 if hardness < 0.5 else 1 if hardness < 0.75 else 2
    has_truth = bool(rng.random() < labeled)
    predictions = {name: _boxes(objects, classes, sees[m], rng) for m, name in enumerate(members)}
    now = datetime.now(UTC)
    document: dict[str, Any] = {
        "_id": ObjectId(),
        "filepath": f"{folder}/{i:06d}.jpg",
        "tags": [],
        "_media_type": "image",
        "_rand": float(rng.random()),
        "_dataset_id": dataset._doc.id,
        "created_at": now,
        "last_modified_at": now,
        "metadata": {"_cls": "ImageMetadata", "width": 960, "height": 540},
        schema.SPLIT: ("train", "train", "train", "val", "test")[i % 5],
        schema.DRIVE: f"drive{i // 50:05d}",
        schema.TIME_OF_DAY: "night" if night else "day",
        schema.WEATHER: ("clear", "rain", "glare")[int(rng.integers(0, 3))],
        schema.PATH: _PATHS[way],
        schema.TIERS_REACHED: list(_TIERS[way]),
        schema.ANSWERED_BY: _TIERS[way][-1],
        schema.HARDNESS: hardness,
        schema.N_VOTERS: len(members),
        schema.AGREEMENT: round(1 - hardness / 2, 4),
        **{part: float(rng.uniform(0, hardness)) for part in schema.HARDNESS_PARTS},
        **predictions,
        schema.CONSENSUS: _consensus(objects, classes, sees, members),
        "roadwork": {"_id": ObjectId(), "_cls": "Classification", "tags": [], "label": "yes",
                     "confidence": 0.8, schema.FINGERPRINT: "f"},
        schema.FAILURES: [],
    }  # fmt: skip
    if way:
        document[LANGUAGE] = {
            "_id": ObjectId(), "_cls": "Classification", "tags": [], "label": "yes",
            "confidence": 0.9, "reason": "cones along the lane", "objects": ["cone"],
            "contradicts": "claims a drum that nobody sees" if rng.random() < 0.1 else None,
            schema.FINGERPRINT: "f",
        }  # fmt: skip
    if rng.random() < 0.01:
        document[schema.FAILURES] = [{
            "_cls": "DynamicEmbeddedDocument", "stage": "predict", "member": members[0],
            "error": "ImageError", "message": "truncated",
        }]  # fmt: skip
    if has_truth:
        document[schema.GROUND_TRUTH] = {
            "_cls": "Detections",
            "detections": [_box(classes[k], objects[k]) for k in range(n)],
        }
        document[schema.LABELED_ROUND] = 0
    return document


def _box(label: str, box: Sequence[float], **more: Any) -> dict[str, Any]:
    return {
        "_id": ObjectId(), "_cls": "Detection", "attributes": {}, "tags": [], "label": label,
        "bounding_box": list(box), **more,
    }  # fmt: skip


def _boxes(
    objects: Sequence[Sequence[float]],
    classes: Sequence[str],
    sees: np.ndarray[Any, Any],
    rng: np.random.Generator,
) -> Mapping[str, Any]:
    documents = [
        _box(classes[k], objects[k], confidence=float(rng.uniform(0.3, 1)), score=0.5,
             raw_label=classes[k])
        for k in np.flatnonzero(sees)
    ]  # fmt: skip
    if rng.random() < 0.1:
        documents.append(_box("sign", [0.8, 0.8, 0.1, 0.1], confidence=float(rng.uniform(0.3, 1))))
    return {"_cls": "Detections", "detections": documents, schema.FINGERPRINT: "f"}


def _consensus(
    objects: Sequence[Sequence[float]],
    classes: Sequence[str],
    sees: np.ndarray[Any, Any],
    members: Sequence[str],
) -> Mapping[str, Any]:
    documents = [
        _box(classes[k], objects[k], confidence=float(sees[:, k].mean()),
             votes=int(sees[:, k].sum()), agreement=float(sees[:, k].mean()),
             members=[members[m] for m in np.flatnonzero(sees[:, k])])
        for k in range(len(objects)) if sees[:, k].any()
    ]  # fmt: skip
    return {"_cls": "Detections", "detections": documents, schema.FINGERPRINT: "f"}


def view_of(dataset: Any, stages: Any) -> Any:
    """Return the view that stages make, as a panel hands them to the App."""
    import fiftyone as fo

    return fo.DatasetView._build(dataset, stages)
