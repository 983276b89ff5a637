"""Fit the ensemble's calibration on the frozen validation split."""

from __future__ import annotations

from typing import Any

from cascade import voting
from cascade.ensemble import Ensemble
from curation import samples as query
from curation import store

LEAST_OF_EACH = 5  # validation images with and without the decision; below, nothing is fitted


def calibrate(samples: Any, ensemble: Ensemble) -> Ensemble:
    """Return the ensemble, calibrated on what its members said about the validation split.

    Reads the members' stored raw scores: no model runs. Without enough labeled validation
    images the ensemble comes back as it was, uncalibrated.
    """
    frozen = query.frozen_set(samples, "val", ensemble.taxonomy)
    truth = frozen.decisions(ensemble.taxonomy)
    if min(truth.sum(), (~truth).sum()) < LEAST_OF_EACH:
        return ensemble
    view = query.dataset_of(samples).select(list(frozen.ids), ordered=True)
    said = {
        name: store.read_detections(view, name, ensemble.taxonomy, score="score", absent="empty")
        for name in ensemble.detectors
    }
    rows = [{name: said[name][i] for name in said} for i in range(len(frozen))]
    return voting.recalibrated(rows, ensemble, frozen.truths, frozen.sizes_px)
