"""One doubtful image with all outputs of the ensemble for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cascade.arrays import BoolArray
from cascade.errors import BadPredictionsError
from cascade.fusion.consensus import Clusters, Decisions
from cascade.fusion.votes import Votes
from cascade.geometry.sizes import Sizes
from cascade.imaging.batches import Image
from cascade.predictions import Answer, Detections
from cascade.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False)
class Case:
    """One doubtful image.

    Attributes:
        id: Name of the image.
        taxonomy: Taxonomy of the boxes' classes and of the question to answer.
        p: Fused p*(x), in [0, 1]; None if there are no votes.
        agreement: Weighted share of the voters on the side of `p`; None if there are no votes.
        image: Pixels; None if unavailable.
        detections: Boxes of each member that ran, in canonical classes, with calibrated scores;
            `classes` holds the classes that the member can name.
        objects: Fused objects, with fused probabilities as scores.
        sizes: Sizes of `objects`, in order; None if depth is unavailable.
        masked: Classes that a segmenter outlines.
        answers: Answer of each language member that was asked.
    """

    id: str
    taxonomy: Taxonomy
    p: float | None
    agreement: float | None
    image: Image | None = None
    detections: Mapping[str, Detections] = field(default_factory=dict)
    objects: Detections = field(default_factory=Detections.empty)
    sizes: Sizes | None = None
    masked: tuple[str, ...] = ()
    answers: Mapping[str, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Reject values out of range or of different lengths."""
        for name, value in (("p", self.p), ("agreement", self.agreement)):
            if value is not None and not 0.0 <= value <= 1.0:
                raise BadPredictionsError(
                    f"{name} must be in [0, 1], or None if there are no votes, got {value}."
                )
        if self.sizes is not None and len(self.sizes.distance_m) != len(self.objects):
            raise BadPredictionsError(
                f"sizes must match the {len(self.objects)} objects, "
                f"got {len(self.sizes.distance_m)}."
            )


def case_from_consensus(
    row: int,
    *,
    id: str,  # noqa: A002 - the usual name
    image: Image | None,
    taxonomy: Taxonomy,
    votes: Votes,
    clusters: Clusters,
    decisions: Decisions,
    competent: BoolArray,
    sizes: Sizes | None = None,
    masked: BoolArray | None = None,
    answers: Mapping[str, Sequence[Answer | None]] | None = None,
) -> Case:
    """Return the case of one of n images that were fused together.

    Args:
        row: Index of the image.
        id: Name of the image.
        image: Pixels of the image.
        taxonomy: Taxonomy with C classes, in order.
        votes: Calibrated votes on all n images.
        clusters: Clusters of all n images.
        decisions: Decisions on all n images, with the votes of all members.
        competent: Classes that each detector can name, shape (M, C).
        sizes: Sizes of all clusters; None if depth is unavailable.
        masked: Whether a segmenter outlines a class, shape (n, C).
        answers: n answers of each language member; None for an image that it was not asked about.
    """
    selected = clusters.image == row
    outlined = () if masked is None else np.flatnonzero(masked[row])
    answer_by_member = {name: column[row] for name, column in (answers or {}).items()}
    return Case(
        id=id,
        taxonomy=taxonomy,
        p=_none_if_nan(decisions.p[row]),
        agreement=_none_if_nan(decisions.agreement[row]),
        image=image,
        detections=_detections(row, votes, competent),
        objects=Detections(
            boxes_xyxy=clusters.boxes_xyxy[selected].astype(np.float32),
            scores=clusters.p_fused[selected].astype(np.float32),
            class_ids=clusters.class_id[selected],
            classes=clusters.classes,
        ),
        sizes=None if sizes is None else _select(sizes, selected),
        masked=tuple(taxonomy.names[i] for i in outlined),
        answers={name: answer for name, answer in answer_by_member.items() if answer},
    )


def _detections(row: int, votes: Votes, competent: BoolArray) -> dict[str, Detections]:
    """Return the boxes of each member that ran on the image, with its vocabulary as classes."""
    detections: dict[str, Detections] = {}
    for m in np.flatnonzero(votes.ran[row]):
        selected = (votes.image == row) & (votes.member == m)
        vocabulary = competent[m].copy()
        vocabulary[votes.class_id[selected]] = True  # a member can name what it has named
        column = np.cumsum(vocabulary) - 1
        detections[votes.members[m]] = Detections(
            boxes_xyxy=votes.boxes_xyxy[selected].astype(np.float32),
            scores=np.clip(votes.p[selected], 0.0, 1.0).astype(np.float32),
            class_ids=column[votes.class_id[selected]],
            classes=tuple(np.array(votes.classes, object)[vocabulary]),
        )
    return detections


def _select(sizes: Sizes, rows: BoolArray) -> Sizes:
    return Sizes(**{name: column[rows] for name, column in vars(sizes).items()})


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
