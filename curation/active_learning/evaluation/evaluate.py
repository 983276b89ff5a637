"""Evaluation of an ensemble on a frozen set, as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from cascade.inference import decision
from cascade.metrics import classification
from cascade.metrics.average_precision import average_precision
from cascade.metrics.bootstrap import ap50_draws
from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.active_learning.evaluation.frozen_set import FrozenSet

if TYPE_CHECKING:
    from cascade.ensemble import Ensemble  # imports torch


def evaluate(
    rows: Sequence[Mapping[str, Any]],
    ensemble: Ensemble,
    frozen: FrozenSet,
    latency_ms: Mapping[str, float | None],
) -> dict[str, Any]:
    """Return the metrics of an ensemble on the frozen set.

    An image without votes has no `p`, and its decision counts as no.

    Args:
        rows: Predictions of the voters for each image, in the order of `frozen`.
        ensemble: The ensemble, with its threshold from validation.
        frozen: Images and ground truth.
        latency_ms: Latency per image, from `cascade.inference.latency`.
    """
    votes = decision.collect_votes(rows, ensemble)
    clusters, decisions = decision.fuse_and_decide(votes, ensemble, frozen.sizes_px)
    decisions = decision.with_image_votes(decisions, ensemble, decision.probe_votes(rows, ensemble))
    fused = decision.fused_detections(clusters)
    p, voted = decisions.p, np.isfinite(decisions.p)
    truth = frozen.decisions(ensemble.taxonomy)
    threshold = ensemble.calibration.threshold
    names = ensemble.taxonomy.names
    overall = average_precision(fused, frozen.truths, names)
    spread = ap50_draws(fused, frozen.truths, names, frozen.drives).intervals()
    return {
        "ensemble": ensemble.identity,
        "split": frozen.split,
        "n_images": len(frozen),
        "n_positive": int(truth.sum()),
        "prevalence": _round(truth.mean()) if len(truth) else None,
        "threshold": threshold,
        **_image_level(truth, p, threshold),
        "ece": _round(classification.ece(truth[voted], p[voted])),
        "map": _round(overall.map),
        "map50": _round(overall.map50),
        "map50_interval": _pair(spread.map50),
        "members": {
            name: _member(rows, name, frozen, ensemble.taxonomy) for name in ensemble.detectors
        },
        "classes": {
            name: {
                "ap50": _round(overall.ap50[name]),
                "ap50_interval": _pair(spread.ap50[name]),
                "n": overall.n[name],
            }
            for name in names
        },
        "slices": {
            name: _slice(mask, truth, p, threshold, fused, frozen.truths, names)
            for name, mask in frozen.slices.items()
        },
        "latency_ms": dict(latency_ms),
        "samples": {
            "id": list(frozen.ids),
            "drive": list(frozen.drives),
            "truth": truth.astype(int).tolist(),
            "p": [_round(value, 6) for value in p],
            "slices": {name: mask.astype(int).tolist() for name, mask in frozen.slices.items()},
        },
    }


def _member(
    rows: Sequence[Mapping[str, Any]], name: str, frozen: FrozenSet, taxonomy: Taxonomy
) -> dict[str, Any]:
    predictions = [row.get(name) for row in rows]
    detections = [
        decision.to_canonical(prediction, taxonomy)
        if isinstance(prediction, Detections)
        else Detections.empty(())
        for prediction in predictions
    ]
    precision = average_precision(detections, frozen.truths, taxonomy.names)
    spread = ap50_draws(detections, frozen.truths, taxonomy.names, frozen.drives).intervals()
    return {
        "map": _round(precision.map),
        "map50": _round(precision.map50),
        "map50_interval": _pair(spread.map50),
    }


def _image_level(
    truth: NDArray[np.bool_], p: FloatArray, threshold: float
) -> dict[str, float | None]:
    predicted = p >= threshold  # False for NaN
    return {
        "mcc": _round(classification.mcc(truth, predicted)),
        "precision": _round(classification.precision(truth, predicted)),
        "recall": _round(classification.recall(truth, predicted)),
    }


def _slice(
    mask: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    p: FloatArray,
    threshold: float,
    fused: Sequence[Detections],
    truths: Sequence[Detections],
    names: Sequence[str],
) -> dict[str, Any]:
    rows = np.flatnonzero(mask).tolist()
    boxes = average_precision([fused[i] for i in rows], [truths[i] for i in rows], names)
    return {
        "n": len(rows),
        "n_positive": int(truth[mask].sum()),
        **_image_level(truth[mask], p[mask], threshold),
        "map50": _round(boxes.map50),
    }


def _pair(interval: tuple[float, float] | None) -> list[float | None] | None:
    return None if interval is None else [_round(end) for end in interval]


def _round(value: Any, digits: int = 4) -> float | None:
    return None if value is None or np.isnan(value) else round(float(value), digits)
