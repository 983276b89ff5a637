"""The boxes of a case, or of a region of its image, under names that a model can refer to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cascade.adjudication import crops
from cascade.adjudication.case import Case
from cascade.adjudication.crops import Region
from cascade.geometry.sizes import Sizes
from cascade.imaging.batches import Image
from cascade.predictions import Answer, Detections
from cascade.taxonomy import Taxonomy

CONSENSUS = "consensus"  # source of the fused objects


@dataclass(frozen=True)
class Size:
    """Size and distance of a box by depth.

    Attributes:
        distance_m: Distance in meters.
        height_m: Height in meters.
        width_m: Width in meters.
        plausible: Whether its class occurs in this size.
    """

    distance_m: float
    height_m: float
    width_m: float
    plausible: bool


@dataclass(frozen=True)
class Box:
    """One box.

    Attributes:
        id: Name, equal in every view of a case: `o1` for an object, `b1` for a member's box.
        source: Member that predicted it, or `consensus`.
        label: Canonical class.
        p: Probability.
        xyxy: Relative corners in the view's image.
        size: Size by depth; None if unknown.
    """

    id: str
    source: str
    label: str
    p: float
    xyxy: Region
    size: Size | None = None


@dataclass(frozen=True, eq=False)
class View:
    """A question, an image or a crop of it, and the ensemble's outputs for it.

    Attributes:
        question: Yes/no question to answer.
        taxonomy: Taxonomy of the boxes' classes.
        image: Pixels; None if unavailable.
        boxes: Objects first, then the boxes of the members, each by descending probability.
        vocabulary: Classes that each member can name.
        masked: Classes that a segmenter outlines anywhere in the full image.
        answers: Answers of language members about the full image; empty for a crop.
        p: The ensemble's probability in [0, 1]; stands unless a model gives a verdict.
        agreement: Agreement of the ensemble; None for a crop or if there are no votes.
    """

    question: str
    taxonomy: Taxonomy
    image: Image | None
    boxes: tuple[Box, ...]
    vocabulary: Mapping[str, tuple[str, ...]]
    masked: tuple[str, ...]
    answers: Mapping[str, Answer]
    p: float | None
    agreement: float | None

    @classmethod
    def from_case(cls, case: Case) -> View:
        """Return the full view of a case."""
        objects = _named_boxes(CONSENSUS, case.objects, "o", 1, case.sizes)
        boxes: list[Box] = []
        for member, detections in case.detections.items():
            boxes += _named_boxes(member, detections, "b", len(boxes) + 1)
        return cls(
            question=case.taxonomy.decision.question,
            taxonomy=case.taxonomy,
            image=case.image,
            boxes=(*objects, *boxes),
            vocabulary={name: boxes.classes for name, boxes in case.detections.items()},
            masked=case.masked,
            answers=case.answers,
            p=case.p,
            agreement=case.agreement,
        )

    def within(self, region: Region, question: str) -> View:
        """Return the view of a region, with the boxes whose center is inside.

        Its `p` is that of the most probable object of a deciding class there.
        """
        inside = tuple(
            replace(box, xyxy=_relative_to(region, box.xyxy))
            for box in self.boxes
            if crops.contains_center(region, box.xyxy)
        )
        deciding = self.taxonomy.deciding
        return replace(
            self,
            question=question,
            image=None if self.image is None else crops.crop(self.image, region),
            boxes=inside,
            answers={},
            p=max(
                (box.p for box in inside if box.source == CONSENSUS and box.label in deciding),
                default=None,
            ),
            agreement=None,
        )


def _named_boxes(
    source: str, detections: Detections, prefix: str, first: int, sizes: Sizes | None = None
) -> list[Box]:
    """Return named boxes by descending score; ties keep their order."""
    order = np.argsort(-detections.scores, kind="stable")
    labels = detections.labels
    return [
        Box(
            id=f"{prefix}{number}",
            source=source,
            label=labels[i],
            p=float(detections.scores[i]),
            xyxy=crops.clip(detections.boxes_xyxy[i]),
            size=_size_of(sizes, int(i)),
        )
        for number, i in enumerate(order, start=first)
    ]


def _size_of(sizes: Sizes | None, i: int) -> Size | None:
    if sizes is None or not np.isfinite(sizes.distance_m[i]):
        return None
    columns = (sizes.distance_m, sizes.height_m, sizes.width_m, sizes.plausible)
    return Size(*(column[i].item() for column in columns))


def _relative_to(region: Region, xyxy: Region) -> Region:
    """Return a box of the image in the coordinates of the region, clipped to it."""
    start, side = np.array(region[:2]), np.subtract(region[2:], region[:2])
    return crops.clip((np.reshape(xyxy, (2, 2)) - start) / side)
