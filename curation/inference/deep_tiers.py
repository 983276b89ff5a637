"""What the deeper tiers have said about samples, read back: answers, outlines, distances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cascade import registry
from cascade.arrays import FloatArray
from cascade.ensemble import Ensemble
from cascade.fusion.consensus import Clusters
from cascade.geometry import focal_length, sizes
from cascade.geometry.sizes import Sizes
from cascade.predictions import Answer
from cascade.taxonomy import Taxonomy
from curation.storage import deep_tier_documents
from curation.storage import schema as fields
from curation.storage.artifacts import read_depth
from curation.storage.collection import read_documents
from curation.storage.documents import Document
from curation.storage.reader import boxes_of, read_columns

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection


@dataclass(frozen=True, eq=False)
class DeepTierOutputs:
    """What the deeper tiers said about n samples.

    Attributes:
        answers: Of each language member, n of them; None where it was not asked.
        masked: Whether a segmenter outlines a class, shape (n, C).
        depth: The raw field of the first depth map of each sample; None where there is none.
        reached: The deeper tiers that looked at each sample, in order.
    """

    answers: Mapping[str, list[Answer | None]]
    masked: NDArray[np.bool_]
    depth: list[Document | None]
    reached: list[list[str]]

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Whether a language member gave a usable answer, shape (n,)."""
        heard = [np.isfinite(one) for one in self.p_yes.values()]
        return np.logical_or.reduce([np.zeros(len(self.reached), bool), *heard])

    @property
    def p_yes(self) -> dict[str, FloatArray]:
        """P(yes) of each language member, shape (n,), NaN where it has no say."""
        return {name: deep_tier_documents.probabilities(one) for name, one in self.answers.items()}


def estimators(ensemble: Ensemble) -> dict[str, tuple[str, ...]]:
    """Return the members of the deeper tiers that look at images, by tier; trackers do not."""
    return {
        tier: tuple(
            name
            for name in ensemble.present(tier)
            if not registry.get(ensemble.manifest.member(name).adapter).tracks
        )
        for tier in ("geometry", "segmentation", "language")
    }


def read_deep_tiers(
    samples: SampleCollection, ids: Sequence[str], ensemble: Ensemble
) -> DeepTierOutputs:
    """Return what is stored of the deeper tiers for the samples, in the order of `ids`."""
    schema = samples.get_field_schema()
    members = {
        tier: [name for name in names if name in schema]
        for tier, names in ensemble.deep_tier_members().items()
    }
    answers: dict[str, list[Answer | None]] = {
        name: [None] * len(ids) for name in members["language"]
    }
    masked = np.zeros((len(ids), len(ensemble.taxonomy.names)), bool)
    depth: list[Document | None] = [None] * len(ids)
    reached: list[list[str]] = [[] for _ in ids]
    column = {name: c for c, name in enumerate(ensemble.taxonomy.names)}
    wanted = [name for names in members.values() for name in names]
    for i, row in read_documents(samples, ids, dict.fromkeys(wanted, 1)) if wanted else ():
        reached[i] = [
            tier
            for tier, names in members.items()
            if any(row.get(name) is not None for name in names)
        ]
        for name in members["language"]:
            answers[name][i] = deep_tier_documents.answer_of(row.get(name))
        for name in members["segmentation"]:
            masked[i, [column[one["label"]] for one in boxes_of(row.get(name))]] = True
        depth[i] = next((row[name] for name in members["geometry"] if row.get(name)), None)
    return DeepTierOutputs(answers=answers, masked=masked, depth=depth, reached=reached)


def measure(
    clusters: Clusters,
    depth: Sequence[Mapping[str, Any] | None],
    *,
    sizes_px: NDArray[np.int64],
    drives: Sequence[str],
    focals_px: FloatArray,
    taxonomy: Taxonomy,
) -> Sizes | None:
    """Return distance and real size of each cluster; None where no sample has a depth map.

    A camera whose focal length nobody knows is asked through all objects of its drive.

    Args:
        clusters: Of n samples.
        depth: The raw depth field of each.
        sizes_px: Height and width of each, shape (n, 2).
        drives: The drive of each.
        focals_px: The focal length of each, shape (n,), NaN where unknown.
        taxonomy: Whose sizes hold.

    Raises:
        StoreError: A depth map's file is gone or damaged.
    """
    if not any(depth):
        return None
    distance = np.full(len(clusters), np.nan)
    for i, one in enumerate(depth):
        mine = clusters.image == i
        if one is not None and mine.any():
            kept = read_depth(one["map_path"], one["step"], one["unit"])
            distance[mine] = sizes.distances_m(kept, clusters.boxes_xyxy[mine])
    labels = [taxonomy.names[int(c)] for c in clusters.class_id]
    focal_px, tolerance = _focals(
        clusters, labels, distance, sizes_px=sizes_px, drives=drives, taxonomy=taxonomy
    )
    known = np.isfinite(focals_px[clusters.image])
    return sizes.object_sizes(
        clusters.boxes_xyxy,
        labels,
        distance,
        size_px=sizes_px[clusters.image],
        focal_px=np.where(known, focals_px[clusters.image], focal_px),
        taxonomy=taxonomy,
        focal_tolerance=np.where(known, 0.0, tolerance),
    )


def _focals(
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
        mine = np.flatnonzero(drive_of == drive)
        found = focal_length.estimate(
            clusters.boxes_xyxy[mine],
            [labels[int(k)] for k in mine],
            distance_m[mine],
            [str(i) for i in clusters.image[mine]],
            size_px=sizes_px[clusters.image[mine]],
            taxonomy=taxonomy,
        )
        focal_px[mine] = found.in_sides * sizes_px[clusters.image[mine]].max(axis=1)
        tolerance[mine] = found.tolerance
    return focal_px, tolerance


def read_focals_px(samples: SampleCollection) -> list[float | None]:
    """Return the focal length of each sample, None where it is unknown, by file and id."""
    return read_columns(samples, [fields.FOCAL_PX])[fields.FOCAL_PX]
