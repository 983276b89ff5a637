"""Raw hardness from what is stored, a thousand samples at a time: only scalars are kept.

What an image's boxes say of its hardness depends on that image alone; only its rank depends on
the others. So memory does not grow with the boxes of a dataset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as parts_of
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from cascade.ensemble import Ensemble
from cascade.fusion import consensus
from cascade.fusion.consensus import Clusters, Decisions
from cascade.inference import decision
from cascade.manifest import Fusion
from cascade.taxonomy import Taxonomy
from curation.active_learning.scoring import hardness
from curation.inference.deep_tiers import read_deep_tiers
from curation.storage import reader, schema

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection


@dataclass(frozen=True, eq=False)
class RawHardness:
    """Why each of n samples may be hard; every array has shape (n,), NaN where undefined.

    Attributes:
        ids: The samples.
        detection, image, contradiction: See `hardness.ImageHardness`.
        existence, class_, location, margin: Of the hardest object.
        n_voters: Members with a say in the image decision.
        expected_boxes: Objects that labeling will probably find.
        looked_at: Whether any member ran.
    """

    ids: tuple[str, ...]
    detection: FloatArray
    image: FloatArray
    contradiction: NDArray[np.bool_]
    existence: FloatArray
    class_: FloatArray
    location: FloatArray
    margin: FloatArray
    n_voters: NDArray[np.int64]
    expected_boxes: FloatArray
    looked_at: NDArray[np.bool_]

    def over_pool(self) -> FloatArray:
        """Return the hardness, shape (n,), all of these samples being the pool."""
        return hardness.over_pool(self.detection, self.image, self.contradiction, self.looked_at)

    def columns(self) -> dict[str, Any]:
        """Return what is stored of it, by field; not the hardness, which depends on the pool."""
        return {
            schema.HARDNESS_EXISTENCE: self.existence,
            schema.HARDNESS_CLASS: self.class_,
            schema.HARDNESS_LOCATION: self.location,
            schema.HARDNESS_MARGIN: self.margin,
            schema.HARDNESS_IMAGE: self.image,
            schema.N_VOTERS: self.n_voters,
            schema.EXPECTED_BOXES: self.expected_boxes,
        }


def concatenate(parts: Sequence[RawHardness]) -> RawHardness:
    """Return the samples of all parts, of which there is at least one."""
    columns = {
        one.name: np.concatenate([getattr(part, one.name) for part in parts])
        for one in parts_of(RawHardness)
        if one.name != "ids"
    }
    return RawHardness(ids=tuple(i for part in parts for i in part.ids), **columns)


def ensemble_hardness(
    samples: SampleCollection,
    ids: Sequence[str],
    ensemble: Ensemble,
    *,
    unknown: Counter[str] | None = None,
) -> RawHardness:
    """Return what an ensemble makes of samples that it is through with.

    Args:
        samples: The dataset, or a view of it.
        ids: The samples.
        ensemble: Whose calibration, weights and vocabulary hold.
        unknown: Added to: boxes that were left out, by the label that means no class.

    Raises:
        StoreError: A detector's field is absent.
    """
    read = reader.read_votes(
        samples, ensemble.detectors, classes=ensemble.taxonomy, confidence="score", ids=ids
    )
    _add(unknown, read.unknown_labels)
    votes = ensemble.calibration.calibrate_votes(read.votes)
    clusters, decisions = decision.fuse_and_decide(votes, ensemble, reader.sizes_px(samples, ids))
    p_yes = read_deep_tiers(samples, ids, ensemble).p_yes
    p_language: FloatArray = (
        decision.fuse_language_votes(ensemble, p_yes) if p_yes else np.full(len(ids), np.nan)
    )
    return _of(ids, votes.ran, clusters, decisions, p_language, ensemble.calibration.quality)


def field_hardness(
    samples: SampleCollection,
    ids: Sequence[str],
    members: Sequence[str],
    taxonomy: Taxonomy,
    *,
    competent: NDArray[np.bool_],
    unknown: Counter[str] | None = None,
) -> RawHardness:
    """Return what fields of unknown origin make of samples: equal voices, confidences as stored.

    Args:
        samples: The dataset, or a view of it.
        ids: The samples.
        members: Label fields.
        taxonomy: What their labels mean.
        competent: Which classes each of them can name, shape (M, C).
        unknown: Added to: boxes that were left out, by the label that means no class.

    Raises:
        StoreError: A field is absent, or holds no boxes with confidences.
    """
    read = reader.read_votes(samples, members, classes=taxonomy, ids=ids)
    _add(unknown, read.unknown_labels)
    votes, fusion, deciding = read.votes, Fusion(), set(taxonomy.deciding)
    clusters = consensus.fuse(
        votes,
        competent=competent,
        weights=np.ones(len(members)),
        silence=np.full(len(members), fusion.silence),
        sizes_px=reader.sizes_px(samples, ids),
        fusion=fusion,
    )
    decisions = consensus.decide(
        clusters,
        votes.ran,
        competent=competent,
        relevance=np.array([float(name in deciding) for name in votes.classes]),
        threshold=0.5,
        epsilon=fusion.epsilon,
    )
    nobody = np.full(len(ids), np.nan)
    return _of(ids, votes.ran, clusters, decisions, nobody, {})


def _add(total: Counter[str] | None, found: Mapping[str, int]) -> None:
    if total is not None:
        total.update(found)


def _of(
    ids: Sequence[str],
    ran: NDArray[np.bool_],
    clusters: Clusters,
    decisions: Decisions,
    p_language: FloatArray,
    quality: Mapping[str, float],
) -> RawHardness:
    looked_at: NDArray[np.bool_] = np.any(ran, axis=1)
    found = hardness.image_hardness(
        hardness.components(clusters, quality),
        clusters,
        in_pool=looked_at,
        sources=np.column_stack([decisions.p, p_language]),
        contradiction=hardness.contradictions(decisions.p, p_language),
    )
    expected = np.bincount(clusters.image, weights=clusters.p_mean, minlength=clusters.n_images)
    return RawHardness(
        ids=tuple(ids),
        detection=np.where(looked_at, found.detection, np.nan),
        image=found.image,
        contradiction=found.contradiction,
        existence=found.existence,
        class_=found.class_,
        location=found.location,
        margin=found.margin,
        n_voters=decisions.n_voters.astype(np.int64),
        expected_boxes=np.where(looked_at, expected, np.nan),
        looked_at=looked_at,
    )
