"""Boxes of all members on a set of images: the input of the consensus.

V is the number of boxes that vote, M of members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cascade.arrays import BoolArray, FloatArray, IntArray
from cascade.errors import BadPredictionsError
from cascade.predictions import Detections

_TOLERANCE = 1e-4  # of a score, as in `Detections`; `fuse` clips it


@dataclass(frozen=True, eq=False)
class Votes:
    """The boxes of all members on n images.

    Attributes:
        image: Index of the image, shape (V,), ascending, in 0..n-1.
        member: Index into `members`, shape (V,).
        class_id: Index into `classes`, shape (V,).
        p: Probability of an object, shape (V,), in [0, 1]; a raw score before calibration.
        boxes_xyxy: Relative corners, shape (V, 4).
        ran: Whether each member ran on each image without failing, shape (n, M).
        members: The members' names.
        classes: The class names of the taxonomy.
    """

    image: IntArray
    member: IntArray
    class_id: IntArray
    p: FloatArray
    boxes_xyxy: FloatArray
    ran: BoolArray
    members: tuple[str, ...]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        """Validate the shapes and values of the arrays."""
        v = len(self.p)
        shapes = {"image": (v,), "member": (v,), "class_id": (v,), "p": (v,), "boxes_xyxy": (v, 4)}
        for name, shape in (*shapes.items(), ("ran", (len(self.ran), len(self.members)))):
            actual = getattr(self, name).shape
            if actual != shape:
                raise BadPredictionsError(f"{name} must have shape {shape}, got {actual}.")
        if v == 0:
            return
        _expect_index("image", self.image, len(self.ran))
        _expect_index("member", self.member, len(self.members))
        _expect_index("class_id", self.class_id, len(self.classes))
        if (np.diff(self.image) < 0).any():
            raise BadPredictionsError("image must be ascending: sort the votes by image.")
        if not (self.p.min() >= -_TOLERANCE and self.p.max() <= 1 + _TOLERANCE):  # or NaN
            raise BadPredictionsError(f"p must be in [0, 1], got {self.p.min()}..{self.p.max()}.")
        if not self.ran[self.image, self.member].all():
            raise BadPredictionsError("ran must be true for every member and image that has votes.")

    @property
    def n_images(self) -> int:
        """The number of images, including those without votes."""
        return len(self.ran)

    @classmethod
    def collect(
        cls, members: Mapping[str, Sequence[Detections | None]], classes: Sequence[str]
    ) -> Votes:
        """Return the boxes of all members as votes with the scores as `p`.

        Args:
            members: One value per image and member, aligned; None if the member did not run.
            classes: The canonical class names; boxes with other labels are dropped.
        """
        column = {name: c for c, name in enumerate(classes)}
        rows = list(zip(*members.values(), strict=True))
        parts = [_empty_part()]
        for i, row in enumerate(rows):
            for m, detections in enumerate(row):
                if detections is not None and len(detections):
                    ids = np.array([column.get(name, -1) for name in detections.classes])
                    parts.append(_part(i, m, ids[detections.class_ids], detections))
        image, member, class_id, p, corners = map(np.concatenate, zip(*parts, strict=True))
        ran = np.array([[item is not None for item in row] for row in rows], bool)
        return cls(
            image=image,
            member=member,
            class_id=class_id,
            p=p,
            boxes_xyxy=corners,
            ran=ran.reshape(len(rows), len(members)),
            members=tuple(members),
            classes=tuple(classes),
        )


_Part = tuple[IntArray, IntArray, IntArray, FloatArray, FloatArray]


def _empty_part() -> _Part:
    empty = np.zeros(0, np.int64)
    return empty, empty, empty, np.zeros(0), np.zeros((0, 4))


def _part(image: int, member: int, class_id: IntArray, detections: Detections) -> _Part:
    canonical = class_id >= 0
    n = int(canonical.sum())
    return (
        np.full(n, image),
        np.full(n, member),
        class_id[canonical],
        detections.scores[canonical].astype(np.float64),
        detections.boxes_xyxy[canonical].astype(np.float64),
    )


def _expect_index(name: str, index: IntArray, n: int) -> None:
    if not (index.min() >= 0 and index.max() < n):
        raise BadPredictionsError(
            f"{name} must be in 0..{n - 1}, got {index.min()}..{index.max()}."
        )
