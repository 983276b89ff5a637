"""What the ensemble concludes from what is stored: no model runs, and nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cascade.ensemble import Ensemble
from cascade.fusion.consensus import Clusters, Decisions, Votes
from cascade.geometry.sizes import Sizes
from cascade.inference import decision
from curation.inference import probe
from curation.inference.deep_tiers import DeepTierOutputs, measure, read_deep_tiers, read_focals_px
from curation.storage import queries, reader, schema

if TYPE_CHECKING:
    from fiftyone import DatasetView


@dataclass(frozen=True, eq=False)
class FusedPredictions:
    """What the ensemble makes of n samples.

    Attributes:
        ids: The samples.
        votes: The detectors' boxes, calibrated.
        clusters: The objects.
        first: What the detectors and the probe decide; the cascade's path follows from it.
        final: What they decide with the language members heard.
        said: What the deeper tiers said.
        sizes: Distance and size of each object; None where no depth is known.
    """

    ids: tuple[str, ...]
    votes: Votes
    clusters: Clusters
    first: Decisions
    final: Decisions
    said: DeepTierOutputs
    sizes: Sizes | None


def fuse_predictions(view: DatasetView, ensemble: Ensemble) -> FusedPredictions:
    """Return what follows from all that the members stored about the samples of a view.

    Raises:
        StoreError: A detector's field is absent, or a depth map's file is gone.
    """
    read = reader.read_votes(
        view, ensemble.detectors, classes=ensemble.taxonomy, confidence="score"
    )
    votes = ensemble.calibration.calibrate_votes(read.votes)
    sizes_px = reader.sizes_px(view)
    clusters, detected = decision.fuse_and_decide(votes, ensemble, sizes_px)
    probed = probe.p_yes(view, read.ids, ensemble)
    said = read_deep_tiers(view, read.ids, ensemble)
    drives = reader.read_columns(view, [schema.DRIVE])[schema.DRIVE]
    return FusedPredictions(
        ids=read.ids,
        votes=votes,
        clusters=clusters,
        first=decision.with_image_votes(detected, ensemble, probed),
        final=decision.with_image_votes(detected, ensemble, {**probed, **said.p_yes}),
        said=said,
        sizes=measure(
            clusters,
            said.depth,
            sizes_px=sizes_px,
            drives=[drive or one for one, drive in zip(read.ids, drives, strict=True)],
            focals_px=queries.float_array(read_focals_px(view)),
            taxonomy=ensemble.taxonomy,
        ),
    )
