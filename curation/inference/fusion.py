"""Fusion of stored predictions; runs no model and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cascade.ensemble import Ensemble
from cascade.fusion.consensus import Clusters, Decisions
from cascade.fusion.votes import Votes
from cascade.geometry.sizes import Sizes
from cascade.inference import decision
from curation.inference import probe
from curation.inference.deep_tiers import (
    DeepTierOutputs,
    measure_sizes,
    read_deep_tiers,
    read_focals_px,
)
from curation.storage import queries, reader, schema

if TYPE_CHECKING:
    from fiftyone import DatasetView


@dataclass(frozen=True, eq=False)
class FusedPredictions:
    """Fused predictions for n samples.

    Attributes:
        ids: Sample ids.
        votes: Calibrated boxes of the detectors.
        clusters: Fused boxes.
        detector_decisions: Image decisions of detectors and probe; they determine the path.
        decisions: Image decisions of detectors, probe and language members.
        deep_tiers: Stored results of the deep tiers.
        sizes: Distance and size of each cluster; None if depth is unavailable.
    """

    ids: tuple[str, ...]
    votes: Votes
    clusters: Clusters
    detector_decisions: Decisions
    decisions: Decisions
    deep_tiers: DeepTierOutputs
    sizes: Sizes | None


def fuse_predictions(view: DatasetView, ensemble: Ensemble) -> FusedPredictions:
    """Fuse the stored predictions of all members for the samples of a view.

    Raises:
        StoreError: The field of a detector or the file of a depth map is missing.
    """
    stored = reader.read_votes(
        view, ensemble.detectors, classes=ensemble.taxonomy, confidence="score"
    )
    votes = ensemble.calibration.calibrate_votes(stored.votes)
    sizes_px = reader.sizes_px(view)
    clusters, decisions = decision.fuse_and_decide(votes, ensemble, sizes_px)
    p_probe = probe.p_yes(view, stored.ids, ensemble)
    deep_tiers = read_deep_tiers(view, stored.ids, ensemble)
    drives = reader.read_columns(view, [schema.DRIVE])[schema.DRIVE]
    return FusedPredictions(
        ids=stored.ids,
        votes=votes,
        clusters=clusters,
        detector_decisions=decision.with_image_votes(decisions, ensemble, p_probe),
        decisions=decision.with_image_votes(decisions, ensemble, {**p_probe, **deep_tiers.p_yes}),
        deep_tiers=deep_tiers,
        sizes=measure_sizes(
            clusters,
            deep_tiers.depth,
            sizes_px=sizes_px,
            drives=[drive or i for i, drive in zip(stored.ids, drives, strict=True)],
            focals_px=queries.float_array(read_focals_px(view)),
            taxonomy=ensemble.taxonomy,
        ),
    )
