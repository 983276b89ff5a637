"""Where a language model says what no other tier supports, or denies what nearly all see.

A claim is only held against a model where somebody could have known better: a class that no
detector and no segmenter can name is left alone. n is the number of images, C of classes.

- [0] Li et al., Evaluating Object Hallucination in Large Vision-Language Models (POPE), 2023
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cascade.arrays import BoolArray, FloatArray
from cascade.fusion.consensus import Clusters, Decisions
from cascade.predictions import Answer
from cascade.taxonomy import Taxonomy

SUPPORT = 0.25  # fused probability from which a box supports the claim that its class is there
SURE_NO, SURE_YES = 0.1, 0.9  # the detectors' side of a contradiction
UNANIMOUS = 0.65  # agreement from which the detectors speak with one voice


def support(clusters: Clusters) -> FloatArray:
    """Return the greatest fused probability of each class in each image, shape (n, C)."""
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
    """Return in one sentence how each answer contradicts the other tiers; None where it does not.

    Args:
        answers: Of one language model, n of them; None where it was not asked.
        detected: Greatest fused probability by image and class, shape (n, C): see `support`.
        masked: Whether a segmenter outlines a class, shape (n, C).
        knowable: Whether any detector or segmenter can name a class, shape (C,).
        decisions: What the detectors decide.
        taxonomy: Its classes, in the order of C.
    """
    seen = (detected >= SUPPORT) | masked
    return [
        None if one is None or one.p_yes is None else _contradiction(
            one, one.p_yes, seen[i], knowable, float(decisions.p[i]),
            float(decisions.agreement[i]), taxonomy,
        )
        for i, one in enumerate(answers)
    ]  # fmt: skip


def _contradiction(
    answer: Answer,
    p_yes: float,
    seen: BoolArray,
    knowable: BoolArray,
    p: float,
    agreement: float,
    taxonomy: Taxonomy,
) -> str | None:
    named = set(taxonomy.vocabulary(answer.objects))
    invented = [
        name
        for c, name in enumerate(taxonomy.names)
        if name in named and name in taxonomy.deciding and knowable[c] and not seen[c]
    ]
    if p_yes > 0.5 and invented:
        return f"claims {' and '.join(invented)}, which no detector and no mask supports"
    if p_yes > 0.5 and p < SURE_NO:
        return f"says yes, where the detectors see nothing (p {p:.2f})"
    if p_yes < 0.5 and p > SURE_YES and agreement >= UNANIMOUS:
        return f"says no, where the detectors agree on yes (p {p:.2f}, agreement {agreement:.2f})"
    return None
