"""From what the members said to what the ensemble says: calibrate, fuse, decide.

A row is what the detectors said about one image, `{member: Detections}`, in their own words
and with their raw scores; a member that failed or did not run is absent, or anything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from cascade.fusion import calibration, consensus
from cascade.fusion.consensus import Clusters, Decisions, Votes
from cascade.predictions import Detections, Embedding
from cascade.taxonomy import Taxonomy

if TYPE_CHECKING:
    from cascade.ensemble import Ensemble  # brings torch along


def collect_votes(rows: Sequence[Mapping[str, Any]], ensemble: Ensemble) -> Votes:
    """Return the calibrated votes of the detectors; labels that mean no class are dropped."""
    said = _by_member(rows, ensemble)
    votes = Votes.collect(said, ensemble.taxonomy.names)
    if not said:  # without a member, the votes cannot know how many images there are
        votes = replace(votes, ran=np.zeros((len(rows), 0), bool))
    return ensemble.calibration.calibrate_votes(votes)


def fuse_and_decide(
    votes: Votes, ensemble: Ensemble, sizes_px: NDArray[np.int64]
) -> tuple[Clusters, Decisions]:
    """Return the ensemble's objects and its image decisions.

    Args:
        votes: Calibrated votes over n images.
        ensemble: Whose weights, vocabulary, fusion and threshold hold.
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
    """Return the decisions with the voters of other tiers heard, too.

    Args:
        decisions: Of the detectors, on n images.
        ensemble: Whose weights, calibration and threshold hold.
        p_yes: By language member, or by the embedder that has a probe, its own probability of
            yes, shape (n,); NaN where it was not asked or gave no usable answer: then it abstains.
    """
    if not p_yes:
        return decisions
    others, weights = _voices(ensemble, p_yes)
    return consensus.opinion_pool(
        np.column_stack([decisions.p_members, others]),
        np.concatenate([ensemble.weights, weights]),
        threshold=ensemble.calibration.threshold,
        epsilon=ensemble.manifest.fusion.epsilon,
    )


def probe_votes(rows: Sequence[Mapping[str, Any]], ensemble: Ensemble) -> dict[str, FloatArray]:
    """Return what the probe reads off the rows' embeddings, as `with_image_votes` takes it.

    Args:
        rows: What the members said about each of n images.
        ensemble: Whose probe; without one that has a say, the result is empty.
    """
    name = ensemble.probe_embedder
    if name is None or ensemble.probe is None:
        return {}
    said = [row.get(name) for row in rows]
    known = [i for i, one in enumerate(said) if isinstance(one, Embedding)]
    p = np.full(len(rows), np.nan)
    if known:
        vectors = np.stack([one.vector for one in said if isinstance(one, Embedding)])
        p[known] = ensemble.probe.p_yes(vectors)
    return {name: p}


def fuse_language_votes(ensemble: Ensemble, p_yes: Mapping[str, FloatArray]) -> FloatArray:
    """Return what the language members alone decide, shape (n,), NaN where none has a say.

    Args:
        ensemble: As in `with_image_votes`.
        p_yes: As in `with_image_votes`, of at least one member.
    """
    others, weights = _voices(ensemble, p_yes)
    epsilon = ensemble.manifest.fusion.epsilon
    return consensus.opinion_pool(others, weights, threshold=0.5, epsilon=epsilon).p


def calibrate_image_votes(
    ensemble: Ensemble,
    decisions: Decisions,
    p_yes: Mapping[str, FloatArray],
    truth: NDArray[np.bool_],
) -> Ensemble:
    """Return the ensemble with the answers of other voters calibrated on labeled images.

    The threshold is fixed anew, on what detectors and these decide together.

    Args:
        ensemble: With calibrated detectors.
        decisions: Of its detectors, on n labeled images.
        p_yes: As in `with_image_votes`.
        truth: The true image decisions, shape (n,).
    """
    lines = {name: calibration.fit_answers(p, truth) for name, p in p_yes.items()}
    known = {name: {calibration.ALL_CLASSES: line} for name, line in lines.items() if line}
    if not known:
        return ensemble
    before = ensemble.calibration
    fitted = replace(before, scaling={**before.scaling, **known})
    scaled = ensemble.with_calibration(fitted)
    together = with_image_votes(decisions, scaled, p_yes)
    return scaled.with_calibration(
        replace(fitted, threshold=calibration.fixed_threshold(truth, together.p))
    )


def fused_detections(clusters: Clusters) -> list[Detections]:
    """Return the fused boxes of each image, their score being the fused probability."""
    starts = np.searchsorted(clusters.image, np.arange(clusters.n_images + 1))
    return [
        Detections(
            boxes_xyxy=clusters.boxes_xyxy[a:b].astype(np.float32),
            scores=clusters.p_fused[a:b].astype(np.float32),
            class_ids=clusters.class_id[a:b].astype(np.int64),
            classes=clusters.classes,
        )
        for a, b in pairwise(starts)
    ]


def recalibrate(
    rows: Sequence[Mapping[str, Any]],
    ensemble: Ensemble,
    truths: Sequence[Detections],
    sizes_px: NDArray[np.int64],
) -> Ensemble:
    """Return the ensemble with a calibration fitted on labeled images.

    Args:
        rows: What its detectors said about each image.
        ensemble: The ensemble.
        truths: Ground truth of each image, in canonical classes.
        sizes_px: Height and width of each image, shape (n, 2).
    """
    fit = calibration.fit(
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
    return ensemble.with_calibration(fit)


def true_decisions(truths: Sequence[Detections], taxonomy: Taxonomy) -> NDArray[np.bool_]:
    """Return the true image decisions, shape (n,): is a class that decides to be seen?"""
    deciding = set(taxonomy.deciding)
    return np.array([any(label in deciding for label in one.labels) for one in truths], bool)


def to_canonical(found: Detections, taxonomy: Taxonomy) -> Detections:
    """Return the boxes whose label means a class, in canonical classes."""
    if not len(found):
        return Detections.empty(taxonomy.names)
    classes = np.array(taxonomy.ids_of(found.classes), np.int64)[found.class_ids]
    kept = replace(found, class_ids=np.maximum(classes, 0), classes=taxonomy.names)
    return kept[classes >= 0]


def _voices(ensemble: Ensemble, p_yes: Mapping[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Return calibrated answers, shape (n, S), and the weight of each member, shape (S,)."""
    columns = []
    for name, p in p_yes.items():
        known = np.isfinite(p)
        column = np.full(len(p), np.nan)
        words = [calibration.ALL_CLASSES] * int(known.sum())
        column[known] = ensemble.calibration.apply(name, words, np.asarray(p)[known])
        columns.append(column)
    weights = [ensemble.manifest.member(name).weight for name in p_yes]
    return np.column_stack(columns), np.array(weights, np.float64)


def _by_member(
    rows: Sequence[Mapping[str, Any]], ensemble: Ensemble
) -> dict[str, list[Detections | None]]:
    return {
        name: [_said(row.get(name), ensemble.taxonomy) for row in rows]
        for name in ensemble.detectors
    }


def _said(found: Any, taxonomy: Taxonomy) -> Detections | None:
    return to_canonical(found, taxonomy) if isinstance(found, Detections) else None
