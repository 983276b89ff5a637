"""Stored results of the deep tiers: answers, masks, distances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from cascade.ensemble import Ensemble
from cascade.fusion.consensus import Clusters
from cascade.geometry import focal_length, sizes
from cascade.geometry.sizes import Sizes
from cascade.predictions import Answer
from cascade.taxonomy import Taxonomy
from curation.storage import documents, queries, schema
from curation.storage.artifacts import read_depth
from curation.storage.box_columns import raw_boxes
from curation.storage.collection import read_documents
from curation.storage.documents import Document
from curation.storage.reader import read_columns

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection


@dataclass(frozen=True, eq=False)
class DeepTierOutputs:
    """Stored results of the deep tiers for n samples.

    Attributes:
        answers: Answers of each language member, length n; None for a sample without an answer.
        masked: Whether a segmenter has a mask of a class, shape (n, C).
        depth: Raw field of the first depth map of each sample; None if there is none.
        reached: Deep tiers that examined each sample, in order.
    """

    answers: Mapping[str, list[Answer | None]]
    masked: NDArray[np.bool_]
    depth: list[Document | None]
    reached: list[list[str]]

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Whether any language member has a usable answer, shape (n,)."""
        usable = [np.isfinite(p) for p in self.p_yes.values()]
        return np.logical_or.reduce([np.zeros(len(self.reached), bool), *usable])

    @property
    def p_yes(self) -> dict[str, FloatArray]:
        """P(yes) of each language member, shape (n,), NaN without a usable answer."""
        return {
            name: queries.float_array([answer.p_yes if answer else None for answer in answers])
            for name, answers in self.answers.items()
        }


def read_deep_tiers(
    samples: SampleCollection, ids: Sequence[str], ensemble: Ensemble
) -> DeepTierOutputs:
    """Return the stored results of the deep tiers for samples, in the order of `ids`."""
    members = {
        tier: [name for name in names if samples.has_field(name)]
        for tier, names in ensemble.deep_tier_members().items()
    }
    names = [name for tier_names in members.values() for name in tier_names]
    classes = {name: c for c, name in enumerate(ensemble.taxonomy.names)}
    outputs = DeepTierOutputs(
        answers={name: [None] * len(ids) for name in members["language"]},
        masked=np.zeros((len(ids), len(classes)), bool),
        depth=[None] * len(ids),
        reached=[[] for _ in ids],
    )
    for i, document in read_documents(samples, ids, dict.fromkeys(names, 1)) if names else ():
        present = {name for name in names if document.get(name) is not None}
        outputs.reached[i].extend(tier for tier in members if present.intersection(members[tier]))
        for name in members["language"]:
            outputs.answers[name][i] = documents.parse_answer(document.get(name))
        for name in members["segmentation"]:
            masks = raw_boxes(document.get(name))
            outputs.masked[i, [classes[mask["label"]] for mask in masks]] = True
        outputs.depth[i] = next(
            (document[name] for name in members["geometry"] if document.get(name)), None
        )
    return outputs


def measure_sizes(
    clusters: Clusters,
    depth: Sequence[Mapping[str, Any] | None],
    *,
    sizes_px: NDArray[np.int64],
    drives: Sequence[str],
    focals_px: FloatArray,
    taxonomy: Taxonomy,
) -> Sizes | None:
    """Return distance and real size of each cluster; None if no sample has a depth map.

    An unknown focal length is estimated from all objects of the drive.

    Args:
        clusters: Clusters of n samples.
        depth: Raw depth field of each sample.
        sizes_px: Height and width of each sample, shape (n, 2).
        drives: Drive of each sample.
        focals_px: Focal length of each sample, shape (n,), NaN if unknown.
        taxonomy: Object sizes by class.

    Raises:
        StoreError: The file of a depth map is missing or damaged.
    """
    if not any(depth):
        return None
    distance = np.full(len(clusters), np.nan)
    for i, field in enumerate(depth):
        rows = clusters.image == i
        if field is not None and rows.any():
            depth_map = read_depth(field["map_path"], field["step"], field["unit"])
            distance[rows] = sizes.distances_m(depth_map, clusters.boxes_xyxy[rows])
    labels = [taxonomy.names[int(c)] for c in clusters.class_id]
    focal_px, tolerance = _estimate_focals(
        clusters, labels, distance, sizes_px=sizes_px, drives=drives, taxonomy=taxonomy
    )
    is_known = np.isfinite(focals_px[clusters.image])
    return sizes.object_sizes(
        clusters.boxes_xyxy,
        labels,
        distance,
        size_px=sizes_px[clusters.image],
        focal_px=np.where(is_known, focals_px[clusters.image], focal_px),
        taxonomy=taxonomy,
        focal_tolerance=np.where(is_known, 0.0, tolerance),
    )


def read_focals_px(samples: SampleCollection) -> list[float | None]:
    """Return the focal length of each sample in order of file and id; None if unknown."""
    return read_columns(samples, [schema.FOCAL_PX])[schema.FOCAL_PX]


def _estimate_focals(
    clusters: Clusters,
    labels: Sequence[str],
    distance_m: FloatArray,
    *,
    sizes_px: NDArray[np.int64],
    drives: Sequence[str],
    taxonomy: Taxonomy,
) -> tuple[FloatArray, FloatArray]:
    """Return the estimated focal length in pixels and its tolerance, by cluster, shape (K,)."""
    drive_of = np.array(drives, object)[clusters.image]
    focal_px, tolerance = np.zeros(len(clusters)), np.zeros(len(clusters))
    for drive in dict.fromkeys(drives):
        rows = np.flatnonzero(drive_of == drive)
        sizes_of_rows = sizes_px[clusters.image[rows]]
        focal = focal_length.estimate(
            clusters.boxes_xyxy[rows],
            [labels[int(k)] for k in rows],
            distance_m[rows],
            [str(i) for i in clusters.image[rows]],
            size_px=sizes_of_rows,
            taxonomy=taxonomy,
        )
        focal_px[rows] = focal.in_sides * sizes_of_rows.max(axis=1)
        tolerance[rows] = focal.tolerance
    return focal_px, tolerance
