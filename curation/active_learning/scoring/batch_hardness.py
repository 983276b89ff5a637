"""Raw hardness of stored predictions, computed in batches of samples.

The raw hardness of an image depends on its own boxes only; its rank depends on other images.
Batches keep scalars only, so memory does not grow with the number of boxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
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
    """Raw hardness of n samples; every array has shape (n,), NaN if undefined.

    Attributes:
        ids: Sample ids.
        detection, image, contradiction: See `hardness.ImageHardness`.
        existence, class_, location, margin: Components of the hardest object.
        n_voters: Members that contribute to the image decision.
        expected_boxes: Objects that labeling will probably find.
        predicted: Whether any member ran.
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
    predicted: NDArray[np.bool_]

    def over_pool(self) -> FloatArray:
        """Return the hardness with these samples as the pool, shape (n,)."""
        return hardness.over_pool(self.detection, self.image, self.contradiction, self.predicted)

    def columns(self) -> dict[str, Any]:
        """Return the stored columns by field, without the hardness, which depends on the pool."""
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
    """Return the samples of one or more parts."""
    columns = {
        column.name: np.concatenate([getattr(part, column.name) for part in parts])
        for column in fields(RawHardness)
        if column.name != "ids"
    }
    return RawHardness(ids=tuple(i for part in parts for i in part.ids), **columns)


def ensemble_hardness(
    samples: SampleCollection,
    ids: Sequence[str],
    ensemble: Ensemble,
    *,
    unknown: Counter[str] | None = None,
) -> RawHardness:
    """Return the raw hardness of samples from the predictions of an ensemble.

    Args:
        samples: The dataset, or a view of it.
        ids: Sample ids.
        ensemble: Its calibration, weights and vocabulary are used.
        unknown: Counter of left-out boxes by label, updated in place.

    Raises:
        StoreError: The field of a detector is missing.
    """
    stored = reader.read_votes(
        samples, ensemble.detectors, classes=ensemble.taxonomy, confidence="score", ids=ids
    )
    if unknown is not None:
        unknown.update(stored.unknown_labels)
    votes = ensemble.calibration.calibrate_votes(stored.votes)
    clusters, decisions = decision.fuse_and_decide(votes, ensemble, reader.sizes_px(samples, ids))
    p_yes = read_deep_tiers(samples, ids, ensemble).p_yes
    p_language: FloatArray = (
        decision.fuse_language_votes(ensemble, p_yes) if p_yes else np.full(len(ids), np.nan)
    )
    return _raw_hardness(
        ids, votes.ran, clusters, decisions, p_language, ensemble.calibration.quality
    )


def field_hardness(
    samples: SampleCollection,
    ids: Sequence[str],
    members: Sequence[str],
    taxonomy: Taxonomy,
    *,
    competent: NDArray[np.bool_],
    unknown: Counter[str] | None = None,
) -> RawHardness:
    """Return the raw hardness of samples from any fields, with equal weights and as stored.

    Args:
        samples: The dataset, or a view of it.
        ids: Sample ids.
        members: Label fields.
        taxonomy: Maps labels to classes.
        competent: Classes that each field can name, shape (M, C).
        unknown: Counter of left-out boxes by label, updated in place.

    Raises:
        StoreError: A field is missing, or has no boxes with confidences.
    """
    stored = reader.read_votes(samples, members, classes=taxonomy, ids=ids)
    if unknown is not None:
        unknown.update(stored.unknown_labels)
    votes, fusion, deciding = stored.votes, Fusion(), set(taxonomy.deciding)
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
    return _raw_hardness(ids, votes.ran, clusters, decisions, np.full(len(ids), np.nan), {})


def _raw_hardness(
    ids: Sequence[str],
    ran: NDArray[np.bool_],
    clusters: Clusters,
    decisions: Decisions,
    p_language: FloatArray,
    quality: Mapping[str, float],
) -> RawHardness:
    predicted: NDArray[np.bool_] = np.any(ran, axis=1)
    result = hardness.image_hardness(
        hardness.components(clusters, quality),
        clusters,
        in_pool=predicted,
        sources=np.column_stack([decisions.p, p_language]),
        contradiction=hardness.contradictions(decisions.p, p_language),
    )
    expected = np.bincount(clusters.image, weights=clusters.p_mean, minlength=clusters.n_images)
    return RawHardness(
        ids=tuple(ids),
        detection=np.where(predicted, result.detection, np.nan),
        image=result.image,
        contradiction=result.contradiction,
        existence=result.existence,
        class_=result.class_,
        location=result.location,
        margin=result.margin,
        n_voters=decisions.n_voters.astype(np.int64),
        expected_boxes=np.where(predicted, expected, np.nan),
        predicted=predicted,
    )
