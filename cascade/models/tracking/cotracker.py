"""CoTracker 3: tracks points through a clip, and with them the boxes around these points [0].

It has no package. The checkpoint is a checkout of its repository, whose code is executed:

    git clone https://github.com/facebookresearch/co-tracker
    mkdir co-tracker/checkpoints
    curl -L -o co-tracker/checkpoints/scaled_offline.pth \
        https://huggingface.co/facebook/cotracker3/resolve/main/scaled_offline.pth

Code and weights are CC-BY-NC-4.0: no commercial use.

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
from torch import nn

from cascade.arrays import BoolArray, FloatArray, IntArray
from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.models.tracking.association import check_clip, match_identities
from cascade.predictions import Detections, Tracks

ENTRY = "cotracker3_offline"  # entry point in the checkout's hubconf.py
WEIGHTS = "checkpoints/scaled_offline.pth"
_HELP = (
    "Clone https://github.com/facebookresearch/co-tracker, copy scaled_offline.pth of "
    f"https://huggingface.co/facebook/cotracker3 to {WEIGHTS} in the clone, and use the clone as "
    "source. Both are CC-BY-NC-4.0: no commercial use."
)


class CoTracker:
    """Tracker of the boxes of a clip by their center points."""

    def __init__(
        self, checkpoint: Path | None = None, *, weights: str = WEIGHTS, min_iou: float = 0.3
    ) -> None:
        """Load the network, which executes code of the checkout.

        Args:
            checkpoint: Folder of the checkout.
            weights: File of the weights, relative to the checkout.
            min_iou: Minimum overlap of a box with a predicted box.

        Raises:
            CheckpointError: The checkout or the weights are missing, or do not match.
        """
        self._min_iou = min_iou
        self.module: Any = _load(checkpoint, weights)

    def track(self, frames: Sequence[Detections], batch: Batch) -> list[Tracks]:
        """Return the frames' boxes, in their order, with their identities: every box has one.

        Every box's center is tracked to the end of the clip: time and memory grow with frames
        times boxes, which limits clips to some hundred frames.

        See `Tracker.track` for the arguments.

        Raises:
            BadPredictionsError: The numbers of frames and images differ.
        """
        check_clip(frames, batch)
        points, visible = self._track_centers(frames, batch)
        boxes = [detections.boxes_xyxy for detections in frames]
        ids = link_boxes(boxes, points, visible, self._min_iou)
        return [Tracks(*pair) for pair in zip(frames, ids, strict=True)]

    def _track_centers(
        self, frames: Sequence[Detections], batch: Batch
    ) -> tuple[FloatArray, BoolArray]:
        """Return the position and visibility of each box's center in each frame.

        See `link_boxes` for the shapes.
        """
        boxes = np.concatenate([np.zeros((0, 4)), *(item.boxes_xyxy for item in frames)])
        if not len(boxes):
            return np.zeros((len(frames), 0, 2)), np.zeros((len(frames), 0), bool)
        height, width = (int(side) for side in self.module.interp_shape)  # the network's view
        to_px = np.array([width, height], np.float64)
        frame = np.repeat(np.arange(len(frames)), [len(item) for item in frames])
        centers_px = (boxes[:, :2] + boxes[:, 2:]) / 2 * to_px - 0.5
        queries = torch.from_numpy(np.column_stack([frame, centers_px])).float().to(batch.device)
        with torch.inference_mode():
            video = batch.view(height, width).float()
            points, visible = self.module(video[None], queries=queries[None])
        positions = (points[0].double().cpu().numpy() + 0.5) / to_px
        return positions, visible[0].bool().cpu().numpy()


def link_boxes(
    boxes_xyxy: Sequence[FloatArray],
    points: FloatArray,
    visible: BoolArray,
    min_iou: float,
) -> list[IntArray]:
    """Return the identity of each box of each frame, counted from 0 in order of appearance.

    An object's latest box moves with its center point; the overlapping box of the next frame
    belongs to the same object. While the point is hidden, the object is not matched.

    T is the number of frames, N the number of boxes of all frames.

    Args:
        boxes_xyxy: Relative corners of the boxes of each frame, T arrays of shape (K, 4).
        points: Relative x and y of the center of each box, in the order of the frames, in every
            frame, shape (T, N, 2).
        visible: Visibility of these points, shape (T, N).
        min_iou: Minimum overlap.
    """
    identities: list[IntArray] = []
    latest: dict[int, tuple[int, FloatArray]] = {}  # identity: center point, box relative to it
    start = 0
    for t, boxes in enumerate(boxes_xyxy):
        objects = [i for i, (point, _) in latest.items() if visible[t, point]]
        moved = [np.tile(points[t, latest[i][0]], 2) + latest[i][1] for i in objects]
        ids = match_identities(objects, np.reshape(moved, (-1, 4)), boxes, min_iou)
        new = np.flatnonzero(ids < 0)
        ids[new] = len(latest) + np.arange(len(new))
        half = np.tile(boxes[:, 2:] - boxes[:, :2], 2) / 2 * (-1, -1, 1, 1)
        latest |= {int(i): (start + k, half[k]) for k, i in enumerate(ids)}
        start += len(boxes)
        identities.append(ids)
    return identities


def _load(checkout: Path | None, weights: str) -> nn.Module:
    if checkout is None or not (checkout / "hubconf.py").is_file():
        reason = "no source was set" if checkout is None else f"{checkout} has no hubconf.py"
        raise CheckpointError(f"CoTracker needs a checkout of its repository; {reason}. {_HELP}")
    if not (checkout / weights).is_file():
        raise CheckpointError(f"No CoTracker weights at {checkout / weights}. {_HELP}")
    try:
        predictor: Any = torch.hub.load(  # type: ignore[no-untyped-call]
            str(checkout), ENTRY, source="local", pretrained=False
        )
        state = torch.load(checkout / weights, map_location="cpu", weights_only=True)
        predictor.model.load_state_dict(state)
    except (ImportError, RuntimeError, AttributeError, UnpicklingError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"Cannot load CoTracker from {checkout}: {reason}") from error
    return predictor.eval().requires_grad_(False)
