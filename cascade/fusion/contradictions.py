"""Contradictions between the answers of language models and the other tiers.

A claimed class counts as a contradiction only if a detector or a segmenter could have named it.
n is the number of images, C of classes.

- [0] Li et al., Evaluating Object Hallucination in Large Vision-Language Models (POPE), 2023
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cascade.arrays import BoolArray, FloatArray
from cascade.fusion.consensus import Clusters, Decisions
from cascade.predictions import Answer
from cascade.taxonomy import Taxonomy

SUPPORT = 0.25  # minimum fused probability of a box that supports a claim of its class
SURE_NO, SURE_YES = 0.1, 0.9  # decision of the detectors in a contradiction
UNANIMOUS = 0.65  # minimum agreement of the detectors in a contradiction


def support(clusters: Clusters) -> FloatArray:
    """Return the maximum fused probability of each class in each image, shape (n, C)."""
    best = np.zeros((clusters.n_images, len(clusters.classes)))
    np.maximum.at(best, (clusters.image, clusters.class_id), clusters.p_fused)
    return best


def contradictions(
    answers: Sequence[Answer | None],
    detected: FloatArray,
    masked: BoolArray,
    knowable: BoolArray,
    decisions: Decisions,
    taxonomy: Taxonomy,
) -> list[str | None]:
    """Return a description of how each answer contradicts the other tiers; None if it does not.

    Args:
        answers: Answers of one language model, n of them; None if it was not asked.
        detected: Maximum fused probability by image and class, shape (n, C): see `support`.
        masked: Whether a segmenter outlines a class, shape (n, C).
        knowable: Whether any detector or segmenter can name a class, shape (C,).
        decisions: Decisions of the detectors.
        taxonomy: The classes, in the order of C.
    """
    seen = (detected >= SUPPORT) | masked
    return [
        _contradiction(answer, seen[i], knowable, decisions.p[i], decisions.agreement[i], taxonomy)
        for i, answer in enumerate(answers)
    ]


def _contradiction(
    answer: Answer | None,
    seen: BoolArray,
    knowable: BoolArray,
    p: float,
    agreement: float,
    taxonomy: Taxonomy,
) -> str | None:
    if answer is None or answer.p_yes is None:
        return None
    claimed = set(taxonomy.vocabulary(answer.objects))
    unsupported = [
        name
        for c, name in enumerate(taxonomy.names)
        if name in claimed and name in taxonomy.deciding and knowable[c] and not seen[c]
    ]
    if answer.p_yes > 0.5 and unsupported:
        return f"claims {' and '.join(unsupported)}, which no detector and no mask supports"
    if answer.p_yes > 0.5 and p < SURE_NO:
        return f"says yes, where the detectors see nothing (p {p:.2f})"
    if answer.p_yes < 0.5 and p > SURE_YES and agreement >= UNANIMOUS:
        return f"says no, where the detectors agree on yes (p {p:.2f}, agreement {agreement:.2f})"
    return None
