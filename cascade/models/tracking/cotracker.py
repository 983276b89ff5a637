"""CoTracker 3: follows points through a clip, and with them the boxes that they are centres of [0].

There is no package of it. Its authors' checkout is the checkpoint; loading it runs its code:

    git clone https://github.com/facebookresearch/co-tracker
    mkdir co-tracker/checkpoints
    curl -L -o co-tracker/checkpoints/scaled_offline.pth \
        https://huggingface.co/facebook/cotracker3/resolve/main/scaled_offline.pth

Code and weights are CC-BY-NC-4.0: not for commercial use.

- [0] Karaev et al., CoTracker3: Simpler and Better Point Tracking by Pseudo-Labelling Real
  Videos, 2024
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cascade.arrays import FloatArray, IntArray
from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.models.tracking.association import assigned, expect_as_many
from cascade.predictions import Detections, Tracks

ENTRY = "cotracker3_offline"  # of the checkout's hubconf.py
WEIGHTS = "checkpoints/scaled_offline.pth"
_HELP = (
    "Clone https://github.com/facebookresearch/co-tracker and put scaled_offline.pth, of "
    f"https://huggingface.co/facebook/cotracker3, into it as {WEIGHTS}; name the clone as source. "
    "Both are CC-BY-NC-4.0: not for commercial use."
)


class CoTracker:
    """Gives boxes of a clip an identity, by the points at their centres."""

    def __init__(
        self, checkpoint: Path | None = None, *, weights: str = WEIGHTS, min_iou: float = 0.3
    ) -> None:
        """Load the network; code of the checkout runs.

        Args:
            checkpoint: The checkout's folder.
            weights: The file in it that holds the weights.
            min_iou: Least overlap of a box with one that was carried along.

        Raises:
            CheckpointError: Checkout or weights are absent, or do not fit together.
        """
        self._min_iou = min_iou
        self.module: Any = _load(checkpoint, weights)

    def track(self, frames: Sequence[Detections], batch: Batch) -> list[Tracks]:
        """Return the frames' boxes, in their order, with an identity each: none gets -1.

        Every box's centre is followed to the end of the clip, so that time and memory grow with
        frames times boxes: clips of some hundred frames.

        Args:
            frames: What was found in each frame, in order of time.
            batch: The frames' images.

        Raises:
            BadPredictionsError: There are not as many frames as images.
        """
        expect_as_many(frames, batch)
        points, visible = self._follow(frames, batch)
        given = identities([one.boxes_xyxy for one in frames], points, visible, self._min_iou)
        return [Tracks(found, ids) for found, ids in zip(frames, given, strict=True)]

    def _follow(
        self, frames: Sequence[Detections], batch: Batch
    ) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return where the centre of each box is in each frame: see `identities`."""
        boxes = np.concatenate([np.zeros((0, 4)), *(one.boxes_xyxy for one in frames)])
        if not len(boxes):
            return np.zeros((len(frames), 0, 2)), np.zeros((len(frames), 0), bool)
        height, width = (int(side) for side in self.module.interp_shape)  # its own view
        to_px = np.array([width, height], np.float64)
        frame = np.repeat(np.arange(len(frames)), [len(one) for one in frames])
        centres_px = (boxes[:, :2] + boxes[:, 2:]) / 2 * to_px - 0.5
        queries = torch.from_numpy(np.column_stack([frame, centres_px])).float().to(batch.device)
        with torch.inference_mode():
            video = batch.view(height, width).float()
            points, visible = self.module(video[None], queries=queries[None])
        found = (points[0].double().cpu().numpy() + 0.5) / to_px
        return found, visible[0].bool().cpu().numpy()


def identities(
    boxes_xyxy: Sequence[FloatArray],
    points: FloatArray,
    visible: NDArray[np.bool_],
    min_iou: float,
) -> list[IntArray]:
    """Return the identity of each box of each frame, counted from 0 in order of appearance.

    An object's latest box is moved with the point at its centre; the box of the next frame
    that overlaps it is the same object's. While the point is hidden, it waits.

    T is the number of frames, N that of the boxes of all frames.

    Args:
        boxes_xyxy: Relative corners of the boxes of each frame, T arrays of shape (K, 4).
        points: Where the centre of each box, in the order of the frames, is in every frame:
            relative x and y, shape (T, N, 2).
        visible: Whether it is seen there, shape (T, N).
        min_iou: Least overlap.
    """
    found: list[IntArray] = []
    latest: dict[int, tuple[int, FloatArray]] = {}  # identity: its point, and its box around it
    start = 0
    for t, boxes in enumerate(boxes_xyxy):
        known = [one for one, (point, _) in latest.items() if visible[t, point]]
        moved = [np.tile(points[t, latest[one][0]], 2) + latest[one][1] for one in known]
        continued = assigned(np.reshape(moved, (-1, 4)), boxes, min_iou)
        given = np.array([known[row] if row >= 0 else -1 for row in continued], np.int64)
        new = np.flatnonzero(given < 0)
        given[new] = len(latest) + np.arange(len(new))
        half = np.tile(boxes[:, 2:] - boxes[:, :2], 2) / 2 * (-1, -1, 1, 1)
        latest |= {int(one): (start + k, half[k]) for k, one in enumerate(given)}
        start += len(boxes)
        found.append(given)
    return found


def _load(checkout: Path | None, weights: str) -> nn.Module:
    if checkout is None or not (checkout / "hubconf.py").is_file():
        where = "no source was named" if checkout is None else f"{checkout} has no hubconf.py"
        raise CheckpointError(f"CoTracker needs its authors' checkout, and {where}. {_HELP}")
    if not (checkout / weights).is_file():
        raise CheckpointError(f"CoTracker's weights are not at {checkout / weights}. {_HELP}")
    try:
        predictor: Any = torch.hub.load(  # type: ignore[no-untyped-call]
            str(checkout), ENTRY, source="local", pretrained=False
        )
        state = torch.load(checkout / weights, map_location="cpu", weights_only=True)
        predictor.model.load_state_dict(state)
    except (ImportError, RuntimeError, AttributeError, UnpicklingError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"CoTracker cannot be loaded from {checkout}: {reason}") from error
    return predictor.eval().requires_grad_(False)
