"""Predictions of one member for one image: frozen, validated values.

N is the number of boxes or masks, C the number of classes, H and W a map's height and
width in map pixels, D the length of an embedding.

Boxes are relative corners `x1, y1, x2, y2`, each in [0, 1] of the upright image, with
x1 <= x2 and y1 <= y2. Every type has an empty value for "ran, detected nothing".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import BoolArray, FloatArray, IntArray
from cascade.errors import BadPredictionsError

_TOLERANCE = 1e-4  # of the image's side; float32 arithmetic on pixels may overshoot by it


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes with a class and a score.

    Attributes:
        boxes_xyxy: Relative corners, shape (N, 4), float32, in [0, 1].
        scores: Raw scores of the member, shape (N,), float32, in [0, 1]; higher is more
            certain. Ground truth has 1 everywhere.
        class_ids: Index into `classes`, shape (N,), int64.
        classes: The member's native class names.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    class_ids: IntArray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        """Validate the shapes and values of the arrays."""
        n = len(self.boxes_xyxy)
        _expect_shape("boxes_xyxy", self.boxes_xyxy, (n, 4))
        _expect_shape("scores", self.scores, (n,))
        _expect_shape("class_ids", self.class_ids, (n,))
        _expect_within("boxes_xyxy", self.boxes_xyxy, 0.0, 1.0)
        _expect_within("scores", self.scores, 0.0, 1.0)
        if n and (self.boxes_xyxy[:, :2] > self.boxes_xyxy[:, 2:] + _TOLERANCE).any():
            raise BadPredictionsError("boxes_xyxy must have x1 <= x2 and y1 <= y2 in every row.")
        _expect_valid_ids(self.class_ids, self.classes)

    @classmethod
    def empty(cls, classes: Sequence[str] = ()) -> Detections:
        """Return no boxes: the member ran and detected nothing."""
        return cls(
            boxes_xyxy=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32),
            class_ids=np.zeros(0, np.int64),
            classes=tuple(classes),
        )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: slice | BoolArray | IntArray) -> Detections:
        """Return the boxes at `rows`: a mask, a slice or an array of indices."""
        return Detections(
            boxes_xyxy=self.boxes_xyxy[rows],
            scores=self.scores[rows],
            class_ids=self.class_ids[rows],
            classes=self.classes,
        )

    @property
    def labels(self) -> list[str]:
        """The class name of each box."""
        return [self.classes[i] for i in self.class_ids]


@dataclass(frozen=True, eq=False)
class Masks:
    """Instance masks, each with a class and a score.

    Attributes:
        masks: Boolean maps of the whole image, shape (N, H, W).
        scores: In [0, 1], shape (N,); higher is more certain.
        class_ids: Index into `classes`, shape (N,), int64.
        classes: The member's native class names.
    """

    masks: NDArray[np.bool_]
    scores: FloatArray
    class_ids: IntArray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        """Validate the shapes and values of the arrays."""
        if self.masks.ndim != 3 or self.masks.dtype != np.bool_:
            raise BadPredictionsError(
                f"masks must be boolean of shape (N, H, W), "
                f"got {self.masks.dtype} of shape {self.masks.shape}."
            )
        _expect_shape("scores", self.scores, (len(self.masks),))
        _expect_shape("class_ids", self.class_ids, (len(self.masks),))
        _expect_within("scores", self.scores, 0.0, 1.0)
        _expect_valid_ids(self.class_ids, self.classes)

    @classmethod
    def empty(cls, classes: Sequence[str] = ()) -> Masks:
        """Return no masks."""
        return cls(
            masks=np.zeros((0, 1, 1), np.bool_),
            scores=np.zeros(0, np.float32),
            class_ids=np.zeros(0, np.int64),
            classes=tuple(classes),
        )

    def __len__(self) -> int:
        return len(self.masks)


@dataclass(frozen=True, eq=False)
class Tracks:
    """The boxes of one frame of a clip, with the track of each.

    Attributes:
        detections: The boxes.
        track_ids: Track of each box, shape (N,), int64, non-negative and unique in the frame;
            -1 for boxes without a track yet.
    """

    detections: Detections
    track_ids: IntArray

    def __post_init__(self) -> None:
        """Validate the track ids."""
        _expect_shape("track_ids", self.track_ids, (len(self.detections),))
        assigned = self.track_ids[self.track_ids >= 0]
        if len(np.unique(assigned)) != len(assigned):
            raise BadPredictionsError("track_ids must be unique in a frame.")

    @classmethod
    def empty(cls, classes: Sequence[str] = ()) -> Tracks:
        """Return a frame without objects."""
        return cls(detections=Detections.empty(classes), track_ids=np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.track_ids)


@dataclass(frozen=True, eq=False)
class DepthMap:
    """Distance from the camera for every pixel of a map that covers the image.

    Attributes:
        depth: Shape (H, W), float32, above 0; NaN where unknown (the sky).
        unit: `metres`, or `relative` if only the order is meaningful (larger is farther).
    """

    depth: FloatArray
    unit: Literal["metres", "relative"]

    def __post_init__(self) -> None:
        """Validate the shape, the unit and the sign."""
        if self.depth.ndim != 2:
            raise BadPredictionsError(f"depth must have shape (H, W), got {self.depth.shape}.")
        if self.unit not in ("metres", "relative"):
            raise BadPredictionsError(f"unit must be 'metres' or 'relative', got {self.unit!r}.")
        if (self.depth < 0).any():
            raise BadPredictionsError(f"depth must not be negative, got {np.nanmin(self.depth)}.")

    @classmethod
    def empty(cls) -> DepthMap:
        """Return a map without known pixels."""
        return cls(depth=np.full((1, 1), np.nan, np.float32), unit="relative")


@dataclass(frozen=True, eq=False)
class Embedding:
    """Feature vector of an image.

    Attributes:
        vector: Shape (D,), float32, finite, with unit length; D = 0 for the empty embedding.
    """

    vector: FloatArray

    def __post_init__(self) -> None:
        """Validate the shape, the values and the length."""
        if self.vector.ndim != 1:
            raise BadPredictionsError(f"vector must have shape (D,), got {self.vector.shape}.")
        if not np.isfinite(self.vector).all():
            raise BadPredictionsError("vector must be finite, got NaN or infinity.")
        length = float(np.linalg.norm(self.vector))
        if self.vector.size and abs(length - 1.0) > 1e-3:
            raise BadPredictionsError(f"vector must have length 1, got {length:.4f}.")

    @classmethod
    def empty(cls) -> Embedding:
        """Return a vector without dimensions."""
        return cls(vector=np.zeros(0, np.float32))


@dataclass(frozen=True)
class Answer:
    """Answer of a language model to the taxonomy's yes/no question.

    Attributes:
        p_yes: Probability of "yes", in [0, 1]; None if there is no usable answer.
        reason: The model's explanation.
        objects: Objects that the model claims to see, in its wording.
    """

    p_yes: float | None
    reason: str = ""
    objects: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Validate the probability."""
        if self.p_yes is not None and not 0.0 <= self.p_yes <= 1.0:
            raise BadPredictionsError(f"p_yes must be in [0, 1], got {self.p_yes}.")

    @classmethod
    def empty(cls) -> Answer:
        """Return no answer: the model was asked and gave no usable one."""
        return cls(p_yes=None)


@dataclass(frozen=True)
class Failure:
    """Reason why a member has no prediction for an image.

    Attributes:
        error: Class name of the exception.
        message: One-line error message.
    """

    error: str
    message: str


Prediction = Detections | Masks | Tracks | DepthMap | Embedding | Answer


def _expect_shape(name: str, array: FloatArray | IntArray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise BadPredictionsError(f"{name} must have shape {shape}, got {array.shape}.")


def _expect_within(name: str, array: FloatArray, low: float, high: float) -> None:
    if array.size == 0:
        return
    smallest, largest = float(array.min()), float(array.max())  # NaN fails both comparisons
    if not (smallest >= low - _TOLERANCE and largest <= high + _TOLERANCE):
        raise BadPredictionsError(
            f"{name} must be in [{low:g}, {high:g}], got {smallest:.4g}..{largest:.4g}."
        )


def _expect_valid_ids(class_ids: IntArray, classes: tuple[str, ...]) -> None:
    if class_ids.size and not (class_ids.min() >= 0 and class_ids.max() < len(classes)):
        raise BadPredictionsError(
            f"class_ids must be in 0..{len(classes) - 1}, got {class_ids.min()}..{class_ids.max()}."
        )
