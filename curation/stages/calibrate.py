"""Fit the ensemble's calibration on the frozen validation split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cascade.ensemble import Ensemble
from cascade.inference import decision
from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.active_learning.evaluation.frozen_set import frozen_set
from curation.inference import probe
from curation.inference.deep_tiers import read_deep_tiers
from curation.storage import collection, reader
from curation.storage.collection import dataset_of

if TYPE_CHECKING:
    from fiftyone import DatasetView
    from fiftyone.core.collections import SampleCollection


def calibrate(samples: SampleCollection, ensemble: Ensemble) -> Ensemble:
    """Return the ensemble, calibrated on its members' predictions for the validation split.

    Calibrates detectors, the probe and, if they ran, language members. Reads stored raw scores, so
    no model runs. Without enough labeled validation images, returns the ensemble unchanged.

    Raises:
        StoreError: A member's field is missing because the member has not predicted yet.
    """
    frozen = frozen_set(samples, "val", ensemble.taxonomy)
    if not frozen.can_calibrate:
        return ensemble
    view = dataset_of(samples).select(list(frozen.ids))
    predictions = {name: _predictions(view, name, ensemble.taxonomy) for name in ensemble.detectors}
    rows = [
        {name: boxes.get(sample_id) for name, boxes in predictions.items()}
        for sample_id in frozen.ids
    ]
    fitted = decision.recalibrate(rows, ensemble, frozen.truths, frozen.sizes_px)
    p_yes = {
        **probe.p_yes(view, frozen.ids, fitted),
        **read_deep_tiers(view, frozen.ids, ensemble).p_yes,
    }
    if not p_yes:
        return fitted
    _, decisions = decision.fuse_and_decide(
        decision.collect_votes(rows, fitted), fitted, frozen.sizes_px
    )
    return decision.calibrate_image_votes(
        fitted, decisions, p_yes, frozen.decisions(ensemble.taxonomy)
    )


def _predictions(view: DatasetView, member: str, taxonomy: Taxonomy) -> dict[str, Detections]:
    """Return the member's raw boxes by sample, of the samples that it has seen."""
    reader.require_detections(view, [member])
    seen = view.exists(member)
    ids, _ = collection.ids_and_paths(seen)
    return dict(
        zip(ids, reader.read_detections(seen, member, taxonomy, score="score"), strict=True)
    )
