"""Decisions of an ensemble from the predictions of its members: calibrate, fuse, decide.

A row has the predictions of one image by member, `{member: Detections}`, with native class names
and raw scores. Members that failed or did not run are absent or have any other value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.arrays import BoolArray, FloatArray, Int64Array
from cascade.fusion import calibration, consensus
from cascade.fusion.consensus import Clusters, Decisions
from cascade.fusion.votes import Votes
from cascade.predictions import Detections, Embedding
from cascade.taxonomy import Taxonomy

if TYPE_CHECKING:
    from cascade.ensemble import Ensemble  # imports torch

Row = Mapping[str, Any]


def collect_votes(rows: Sequence[Row], ensemble: Ensemble) -> Votes:
    """Return the calibrated votes of the detectors, without labels unknown to the taxonomy."""
    detections = _by_member(rows, ensemble)
    votes = Votes.collect(detections, ensemble.taxonomy.names)
    if not detections:  # without members, the votes do not contain the number of images
        votes = replace(votes, ran=np.zeros((len(rows), 0), bool))
    return ensemble.calibration.calibrate_votes(votes)


def fuse_and_decide(
    votes: Votes, ensemble: Ensemble, sizes_px: Int64Array
) -> tuple[Clusters, Decisions]:
    """Return the objects and the image decisions of the detectors.

    Args:
        votes: Calibrated votes on n images.
        ensemble: The ensemble of the votes.
        sizes_px: Height and width of each image, shape (n, 2).
    """
    fitted, fusion = ensemble.calibration, ensemble.manifest.fusion
    silence = np.array([fitted.silence.get(m, fusion.silence) for m in votes.members])
    relevance = np.array([fitted.relevance.get(c, 0.0) for c in votes.classes])
    clusters = consensus.fuse(
        votes,
        competent=ensemble.competent,
        weights=ensemble.weights,
        silence=silence,
        sizes_px=sizes_px,
        fusion=fusion,
    )
    decisions = consensus.decide(
        clusters,
        votes.ran,
        competent=ensemble.competent,
        relevance=relevance,
        threshold=fitted.threshold,
        epsilon=fusion.epsilon,
    )
    return clusters, decisions


def with_image_votes(
    decisions: Decisions, ensemble: Ensemble, p_yes: Mapping[str, FloatArray]
) -> Decisions:
    """Return the decisions of the detectors together with voters on whole images.

    Args:
        decisions: Decisions of the detectors on n images.
        ensemble: The ensemble of the voters.
        p_yes: Raw probability of yes, shape (n,), by language member or by the embedder with a
            probe; NaN (an abstention) without a usable answer.
    """
    if not p_yes:
        return decisions
    p_voters, weights = _calibrated_image_votes(ensemble, p_yes)
    return consensus.opinion_pool(
        np.column_stack([decisions.p_members, p_voters]),
        np.concatenate([ensemble.weights, weights]),
        threshold=ensemble.calibration.threshold,
        epsilon=ensemble.manifest.fusion.epsilon,
    )


def probe_votes(rows: Sequence[Row], ensemble: Ensemble) -> dict[str, FloatArray]:
    """Return the image votes of the probe; empty if there is no matching probe.

    Args:
        rows: Predictions of n images, with embeddings.
        ensemble: The ensemble with the probe.
    """
    name = ensemble.probe_embedder
    if name is None or ensemble.probe is None:
        return {}
    embeddings = {i: row.get(name) for i, row in enumerate(rows)}
    vectors = {i: e.vector for i, e in embeddings.items() if isinstance(e, Embedding)}
    p = np.full(len(rows), np.nan)
    if vectors:
        p[list(vectors)] = ensemble.probe.p_yes(np.stack(list(vectors.values())))
    return {name: p}


def fuse_language_votes(ensemble: Ensemble, p_yes: Mapping[str, FloatArray]) -> FloatArray:
    """Return the fused probability of the language members alone, shape (n,), NaN without votes.

    Args:
        ensemble: The ensemble of the members.
        p_yes: Image votes of at least one member, as in `with_image_votes`.
    """
    p_voters, weights = _calibrated_image_votes(ensemble, p_yes)
    epsilon = ensemble.manifest.fusion.epsilon
    return consensus.opinion_pool(p_voters, weights, threshold=0.5, epsilon=epsilon).p


def calibrate_image_votes(
    ensemble: Ensemble, decisions: Decisions, p_yes: Mapping[str, FloatArray], truth: BoolArray
) -> Ensemble:
    """Return the ensemble with image votes calibrated on labeled images.

    The decision threshold is fitted again, to the decisions of all voters.

    Args:
        ensemble: An ensemble with calibrated detectors.
        decisions: Decisions of its detectors on n labeled images.
        p_yes: Image votes, as in `with_image_votes`.
        truth: The true image decisions, shape (n,).
    """
    lines = {name: calibration.fit_answers(p, truth) for name, p in p_yes.items()}
    scaling = {name: {calibration.ALL_CLASSES: line} for name, line in lines.items() if line}
    if not scaling:
        return ensemble
    fitted = replace(ensemble.calibration, scaling={**ensemble.calibration.scaling, **scaling})
    scaled = ensemble.with_calibration(fitted)
    p = with_image_votes(decisions, scaled, p_yes).p
    return scaled.with_calibration(replace(fitted, threshold=calibration.fit_threshold(truth, p)))


def fused_detections(clusters: Clusters) -> list[Detections]:
    """Return the fused boxes of each image, with the fused probabilities as scores."""
    starts = np.searchsorted(clusters.image, np.arange(clusters.n_images + 1))
    return [
        Detections(
            boxes_xyxy=clusters.boxes_xyxy[start:stop].astype(np.float32),
            scores=clusters.p_fused[start:stop].astype(np.float32),
            class_ids=clusters.class_id[start:stop].astype(np.int64),
            classes=clusters.classes,
        )
        for start, stop in pairwise(starts)
    ]


def recalibrate(
    rows: Sequence[Row], ensemble: Ensemble, truths: Sequence[Detections], sizes_px: Int64Array
) -> Ensemble:
    """Return the ensemble with a calibration fitted on labeled images.

    Args:
        rows: Predictions of n images.
        ensemble: The ensemble of the predictions.
        truths: Ground truth of each image, in canonical classes.
        sizes_px: Height and width of each image, shape (n, 2).
    """
    fitted = calibration.fit(
        _by_member(rows, ensemble),
        truths,
        ensemble.taxonomy.names,
        ensemble.taxonomy.deciding,
        decision=true_decisions(truths, ensemble.taxonomy),
        competent=ensemble.competent,
        weights=ensemble.weights,
        sizes_px=sizes_px,
        fusion=ensemble.manifest.fusion,
    )
    return ensemble.with_calibration(fitted)


def true_decisions(truths: Sequence[Detections], taxonomy: Taxonomy) -> BoolArray:
    """Return whether each image contains a deciding class, shape (n,)."""
    deciding = set(taxonomy.deciding)
    return np.array([not deciding.isdisjoint(truth.labels) for truth in truths], bool)


def to_canonical(detections: Detections, taxonomy: Taxonomy) -> Detections:
    """Return the boxes with canonical classes; drop labels unknown to the taxonomy."""
    if not len(detections):
        return Detections.empty(taxonomy.names)
    class_ids = np.array(taxonomy.ids_of(detections.classes), np.int64)[detections.class_ids]
    canonical = replace(detections, class_ids=np.maximum(class_ids, 0), classes=taxonomy.names)
    return canonical[class_ids >= 0]


def _calibrated_image_votes(
    ensemble: Ensemble, p_yes: Mapping[str, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return calibrated image votes, shape (n, S), and the weight of each voter, shape (S,)."""
    columns = []
    for name, p in p_yes.items():
        answered = np.isfinite(p)
        column = np.full(len(p), np.nan)
        classes = [calibration.ALL_CLASSES] * int(answered.sum())
        column[answered] = ensemble.calibration.calibrate_scores(
            name, classes, np.asarray(p)[answered]
        )
        columns.append(column)
    weights = [ensemble.manifest.member(name).weight for name in p_yes]
    return np.column_stack(columns), np.array(weights, np.float64)


def _by_member(rows: Sequence[Row], ensemble: Ensemble) -> dict[str, list[Detections | None]]:
    def detections(prediction: Any) -> Detections | None:
        is_usable = isinstance(prediction, Detections)
        return to_canonical(prediction, ensemble.taxonomy) if is_usable else None

    return {name: [detections(row.get(name)) for row in rows] for name in ensemble.detectors}
