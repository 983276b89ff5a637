"""Fit the ensemble's calibration on the frozen validation split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cascade.ensemble import Ensemble
from cascade.inference import decision
from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.active_learning.evaluation.frozen_set import frozen_set
from curation.inference import probe
from curation.inference.deep_tiers import read_closer
from curation.storage import collection, queries, reader

if TYPE_CHECKING:
    from fiftyone import DatasetView
    from fiftyone.core.collections import SampleCollection


def calibrate(samples: SampleCollection, ensemble: Ensemble) -> Ensemble:
    """Return the ensemble, calibrated on what its members said about the validation split.

    Detectors, the probe and, where they were asked, language members.

    Reads the members' stored raw scores: no model runs. Without enough labeled validation
    images the ensemble comes back as it was, uncalibrated.

    Raises:
        StoreError: A member's field is absent: nothing was predicted yet.
    """
    frozen = frozen_set(samples, "val", ensemble.taxonomy)
    if not frozen.can_calibrate:
        return ensemble
    view = queries.dataset_of(samples).select(list(frozen.ids))
    said = {name: _said(view, name, ensemble.taxonomy) for name in ensemble.detectors}
    rows = [{name: said[name].get(one) for name in said} for one in frozen.ids]
    fitted = decision.recalibrated(rows, ensemble, frozen.truths, frozen.sizes_px)
    p_yes = {
        **probe.p_yes(view, frozen.ids, fitted),
        **read_closer(view, frozen.ids, ensemble).p_yes,
    }
    if not p_yes:
        return fitted
    _, decisions = decision.conclude(decision.gather(rows, fitted), fitted, frozen.sizes_px)
    return decision.with_answers(fitted, decisions, p_yes, frozen.decisions(ensemble.taxonomy))


def _said(view: DatasetView, member: str, taxonomy: Taxonomy) -> dict[str, Detections]:
    """Return the member's raw boxes by sample; one that it did not look at is absent."""
    reader.require_detections(view, [member])
    seen = view.exists(member)
    ids, _ = collection.ids_and_paths(seen)
    return dict(
        zip(ids, reader.read_detections(seen, member, taxonomy, score="score"), strict=True)
    )
