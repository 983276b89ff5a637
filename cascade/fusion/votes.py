"""What all members say about a set of images, box by box: the input of the consensus.

V is the number of boxes that vote, M of members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cascade.arrays import BoolArray, FloatArray, IntArray
from cascade.errors import BadPredictionsError
from cascade.predictions import Detections

_TOLERANCE = 1e-4  # what `Detections` allows a score; `fuse` clips it away


@dataclass(frozen=True, eq=False)
class Votes:
    """What all members say about n images, box by box.

    Attributes:
        image: Index of the image, shape (V,), ascending, in 0..n-1.
        member: Index into `members`, shape (V,).
        class_id: Index into `classes`, shape (V,).
        p: Probability that the object is there, shape (V,), in [0, 1]; calibrated, except
            in what a calibration is fitted on.
        boxes_xyxy: Relative corners, shape (V, 4).
        ran: Whether each member ran on each image, shape (n, M); one that failed did not.
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
        """Refuse arrays that do not fit together, and say which."""
        v = len(self.p)
        shapes = {"image": (v,), "member": (v,), "class_id": (v,), "p": (v,), "boxes_xyxy": (v, 4)}
        for name, shape in (*shapes.items(), ("ran", (len(self.ran), len(self.members)))):
            if getattr(self, name).shape != shape:
                found = getattr(self, name).shape
                raise BadPredictionsError(f"{name} must have shape {shape}, got {found}.")
        if v == 0:
            return
        _expect_index("image", self.image, len(self.ran))
        _expect_index("member", self.member, len(self.members))
        _expect_index("class_id", self.class_id, len(self.classes))
        if (np.diff(self.image) < 0).any():
            raise BadPredictionsError("image must ascend: sort the votes by image.")
        if not (self.p.min() >= -_TOLERANCE and self.p.max() <= 1 + _TOLERANCE):  # nor NaN
            raise BadPredictionsError(f"p must lie in [0, 1], got {self.p.min()}..{self.p.max()}.")
        if not self.ran[self.image, self.member].all():
            raise BadPredictionsError("ran says that a member did not run where it has votes.")

    @property
    def n_images(self) -> int:
        """The number of images, those without votes included."""
        return len(self.ran)

    @classmethod
    def collect(
        cls, members: Mapping[str, Sequence[Detections | None]], classes: Sequence[str]
    ) -> Votes:
        """Return the boxes of all members as votes, each score being its `p`.

        Args:
            members: One value per image and member, aligned; None where it did not run.
            classes: The canonical names; boxes of any other label are left out.
        """
        column = {name: c for c, name in enumerate(classes)}
        rows = list(zip(*members.values(), strict=True))
        parts = [_no_part()]
        for i, row in enumerate(rows):
            for m, found in enumerate(row):
                if found is not None and len(found):
                    ids = np.array([column.get(name, -1) for name in found.classes])
                    parts.append(_part(i, m, ids[found.class_ids], found))
        image, member, class_id, p, corners = map(np.concatenate, zip(*parts, strict=True))
        ran = np.array([[one is not None for one in row] for row in rows], bool)
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


def _no_part() -> tuple[IntArray, IntArray, IntArray, FloatArray, FloatArray]:
    nothing = np.zeros(0, np.int64)
    return nothing, nothing, nothing, np.zeros(0), np.zeros((0, 4))


def _part(
    image: int, member: int, class_id: IntArray, found: Detections
) -> tuple[IntArray, IntArray, IntArray, FloatArray, FloatArray]:
    known = class_id >= 0
    n = int(known.sum())
    return (
        np.full(n, image),
        np.full(n, member),
        class_id[known],
        found.scores[known].astype(np.float64),
        found.boxes_xyxy[known].astype(np.float64),
    )


def _expect_index(name: str, index: IntArray, n: int) -> None:
    if not (index.min() >= 0 and index.max() < n):
        raise BadPredictionsError(
            f"{name} must lie in 0..{n - 1}, got {index.min()}..{index.max()}."
        )
