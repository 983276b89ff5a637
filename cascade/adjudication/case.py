"""What is to be settled: one image, and all that the ensemble says about it."""

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
    """One image in doubt.

    Attributes:
        id: The name of the image.
        taxonomy: Whose classes the boxes have, and whose question is to be answered.
        p: The fused p*(x), in [0, 1]; None where nobody votes.
        agreement: Weighted share of the voters on the side of `p`; None where nobody votes.
        image: The pixels; None where nothing can be looked at.
        detections: By member that ran, in canonical classes; its `classes` are those that it can
            name, its scores calibrated.
        objects: What the ensemble makes of them: the scores are the fused probabilities.
        sizes: Of `objects`, in their order; None where no depth is known.
        masked: Classes that a segmenter outlines.
        answers: By language member that was asked.
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
        """Refuse what does not fit together, and say which."""
        for name, value in (("p", self.p), ("agreement", self.agreement)):
            if value is not None and not 0.0 <= value <= 1.0:
                raise BadPredictionsError(
                    f"{name} must lie in [0, 1], or be None where nobody votes, got {value}."
                )
        if self.sizes is not None and len(self.sizes.distance_m) != len(self.objects):
            raise BadPredictionsError(
                f"sizes must be of the {len(self.objects)} objects, "
                f"got {len(self.sizes.distance_m)}."
            )


def of_consensus(
    row: int,
    *,
    id: str,  # noqa: A002 - as it is called everywhere
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
        row: Which of them.
        id: Its name.
        image: Its pixels.
        taxonomy: Whose classes, C of them, in order.
        votes: Calibrated, of all n.
        clusters: Of all n.
        decisions: Of all n, with every voter heard.
        competent: Which classes each detector can name, shape (M, C).
        sizes: Of all clusters; None where no depth is known.
        masked: Whether a segmenter outlines a class, shape (n, C).
        answers: Of each language member, n of them; None where it was not asked.
    """
    mine = clusters.image == row
    outlined = np.zeros(len(taxonomy.names), bool) if masked is None else masked[row]
    return Case(
        id=id,
        taxonomy=taxonomy,
        p=_known(decisions.p[row]),
        agreement=_known(decisions.agreement[row]),
        image=image,
        detections=_detections(row, votes, competent),
        objects=Detections(
            boxes_xyxy=clusters.boxes_xyxy[mine].astype(np.float32),
            scores=clusters.p_fused[mine].astype(np.float32),
            class_ids=clusters.class_id[mine],
            classes=clusters.classes,
        ),
        sizes=None if sizes is None else _rows(sizes, mine),
        masked=tuple(name for name, one in zip(taxonomy.names, outlined, strict=True) if one),
        answers={name: found for name, given in (answers or {}).items() if (found := given[row])},
    )


def _detections(row: int, votes: Votes, competent: BoolArray) -> dict[str, Detections]:
    """Return the boxes of every member that ran on the image, its vocabulary as classes."""
    found: dict[str, Detections] = {}
    for m in np.flatnonzero(votes.ran[row]):
        mine = (votes.image == row) & (votes.member == m)
        known = competent[m].copy()
        known[votes.class_id[mine]] = True  # what it names, it can name
        column = np.cumsum(known) - 1
        found[votes.members[m]] = Detections(
            boxes_xyxy=votes.boxes_xyxy[mine].astype(np.float32),
            scores=np.clip(votes.p[mine], 0.0, 1.0).astype(np.float32),
            class_ids=column[votes.class_id[mine]],
            classes=tuple(np.array(votes.classes, object)[known]),
        )
    return found


def _rows(sizes: Sizes, rows: BoolArray) -> Sizes:
    return Sizes(
        distance_m=sizes.distance_m[rows],
        height_m=sizes.height_m[rows],
        width_m=sizes.width_m[rows],
        tolerance=sizes.tolerance[rows],
        plausible=sizes.plausible[rows],
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
