"""What a model can ask about: the boxes of a case by name, or those of a part of its image."""

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

CONSENSUS = "consensus"  # whose boxes the fused objects are


@dataclass(frozen=True)
class Size:
    """What depth says about a box.

    Attributes:
        distance_m: In metres.
        height_m: In metres.
        width_m: In metres.
        plausible: Whether its class comes in that size.
    """

    distance_m: float
    height_m: float
    width_m: float
    plausible: bool


@dataclass(frozen=True)
class Box:
    """One box.

    Attributes:
        id: Its name, the same in every view of a case: `o1` for an object, `b1` for a member's.
        by: The member that drew it, or `consensus`.
        label: Its canonical class.
        p: Its probability.
        xyxy: Relative corners in the view's image.
        size: None where it is not known.
    """

    id: str
    by: str
    label: str
    p: float
    xyxy: Region
    size: Size | None = None


@dataclass(frozen=True, eq=False)
class View:
    """A question, an image or a crop of one, and what the ensemble says about it.

    Attributes:
        question: To be answered by yes or no.
        taxonomy: Whose classes the boxes have.
        image: The pixels; None where nothing can be looked at.
        boxes: Objects first, then members, each surest first.
        vocabulary: The classes that each member can name.
        masked: Classes that a segmenter outlines somewhere in the whole image.
        answers: Of language members, about the whole image; none in a crop.
        p: What the ensemble says, in [0, 1]: the weighted mean that stands where no model rules.
        agreement: How far it agrees; None where nobody votes, and in a crop.
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
    def of(cls, case: Case) -> View:
        """Return the whole of a case."""
        boxes = _boxes(CONSENSUS, case.objects, "o", 1, case.sizes)
        members: list[Box] = []
        for name, found in case.detections.items():
            members += _boxes(name, found, "b", len(members) + 1)
        return cls(
            question=case.taxonomy.decision.question,
            taxonomy=case.taxonomy,
            image=case.image,
            boxes=(*boxes, *members),
            vocabulary={name: found.classes for name, found in case.detections.items()},
            masked=case.masked,
            answers=case.answers,
            p=case.p,
            agreement=case.agreement,
        )

    def within(self, region: Region, question: str) -> View:
        """Return a part of the image, with the boxes whose centre lies in it.

        The ensemble's word on it is its surest object there of a class that decides.
        """
        inside = tuple(
            replace(one, xyxy=_moved(one.xyxy, region))
            for one in self.boxes
            if crops.holds(region, one.xyxy)
        )
        of_objects = [
            one.p for one in inside if one.by == CONSENSUS and one.label in self.taxonomy.deciding
        ]
        return replace(
            self,
            question=question,
            image=None if self.image is None else crops.cut(self.image, region),
            boxes=inside,
            answers={},
            p=max(of_objects, default=None),
            agreement=None,
        )


def _boxes(
    by: str, found: Detections, prefix: str, first: int, sizes: Sizes | None = None
) -> list[Box]:
    """Return boxes as they are named, surest first; of equals, the earlier one first."""
    order = np.argsort(-found.scores, kind="stable")
    labels = found.labels
    return [
        Box(
            id=f"{prefix}{number}",
            by=by,
            label=labels[i],
            p=float(found.scores[i]),
            xyxy=crops.clipped(found.boxes_xyxy[i]),
            size=_size(sizes, int(i)),
        )
        for number, i in enumerate(order, start=first)
    ]


def _size(sizes: Sizes | None, i: int) -> Size | None:
    if sizes is None or not np.isfinite(sizes.distance_m[i]):
        return None
    return Size(
        distance_m=float(sizes.distance_m[i]),
        height_m=float(sizes.height_m[i]),
        width_m=float(sizes.width_m[i]),
        plausible=bool(sizes.plausible[i]),
    )


def _moved(xyxy: Region, region: Region) -> Region:
    """Return a box of the image as one of the region, cut off at its border."""
    start, side = np.array(region[:2]), np.subtract(region[2:], region[:2])
    return crops.clipped((np.reshape(xyxy, (2, 2)) - start) / side)
