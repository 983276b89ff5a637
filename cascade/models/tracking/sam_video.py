"""SAM 2.1 from transformers for clips: tracks boxes by the masks of their objects [0].

Each object is prompted once, with its first box; from then on the network remembers its
appearance, and the box around its mask is matched with the boxes of each frame.

- [0] Ravi et al., SAM 2: Segment Anything in Images and Videos, ICLR 2025
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Sam2VideoInferenceSession, Sam2VideoModel

from cascade.arrays import FloatArray, IntArray
from cascade.imaging.batches import Batch
from cascade.models.huggingface import pretrained
from cascade.models.tracking.association import check_clip, match_identities
from cascade.predictions import Detections, Tracks

ADAPTER = "sam_video"
FAMILIES = ("sam2_video",)
_CORNERS = torch.tensor([[[2, 3]]], dtype=torch.int32)  # labels of "top left" and "bottom right"


class SamVideo:
    """Tracker of the boxes of a clip by masks, with new memory per clip.

    The network processes one object at a time and forgets none: time grows with frames times
    objects. A frame with new objects is processed twice.
    """

    def __init__(
        self, checkpoint: Path | None = None, *, start_score: float = 0.5, min_iou: float = 0.3
    ) -> None:
        """Load the network.

        Args:
            checkpoint: Snapshot of a hub repository, or a folder written by `save_pretrained`.
            start_score: Minimum score of a track's first box.
            min_iou: Minimum overlap of a box with the box around an object's mask.

        Raises:
            CheckpointError: The checkpoint is missing, incomplete, or for another model family.
        """
        self.module: Any
        _, self._view, self.module = pretrained.open_vision_model(
            Sam2VideoModel, checkpoint, FAMILIES, adapter=ADAPTER
        )
        self._start_score = start_score
        self._min_iou = min_iou

    def track(self, frames: Sequence[Detections], batch: Batch) -> list[Tracks]:
        """Return the frames' boxes, in their order, with their identities.

        A box that continues no track and is below `start_score` gets -1.

        See `Tracker.track` for the arguments.

        Raises:
            BadPredictionsError: The numbers of frames and images differ.
        """
        check_clip(frames, batch)
        if not frames:
            return []
        session = self._session(batch)
        with torch.inference_mode():
            return [
                Tracks(detections, self._identities(session, t, detections))
                for t, detections in enumerate(frames)
            ]

    def _session(self, batch: Batch) -> Any:
        """Return the network's memory of a clip, without objects."""
        height, width = self._view.size
        return Sam2VideoInferenceSession(
            video=self._view.pixels(batch),
            video_height=height,
            video_width=width,
            inference_device=batch.device,
            inference_state_device=batch.device,
            video_storage_device=batch.device,
            dtype=next(self.module.parameters()).dtype,
        )

    def _identities(self, session: Any, t: int, detections: Detections) -> IntArray:
        """Return the identity of each box of frame t, after new objects were prompted."""
        objects, predicted = self._predict_boxes(session, t)
        ids = match_identities(objects, predicted, detections.boxes_xyxy, self._min_iou)
        new = np.flatnonzero((ids < 0) & (detections.scores >= self._start_score))
        ids[new] = session.get_obj_num() + np.arange(len(new))
        for row in new:
            self._add_object(session, t, int(ids[row]), detections.boxes_xyxy[row])
        if len(new):
            session.obj_with_new_inputs = ids[new].tolist()
            self.module(inference_session=session, frame_idx=t)
        return ids

    def _predict_boxes(self, session: Any, t: int) -> tuple[list[int], FloatArray]:
        """Return the objects that are visible in frame t, and the boxes around their masks."""
        if not session.get_obj_num():
            return [], np.zeros((0, 4))
        raw = self.module(inference_session=session, frame_idx=t)
        boxes = mask_boxes(raw.pred_masks[:, 0] > 0)
        visible = np.flatnonzero(np.isfinite(boxes).all(axis=1))  # hidden objects have no mask
        return [raw.object_ids[k] for k in visible], boxes[visible]

    def _add_object(self, session: Any, t: int, identity: int, box_xyxy: FloatArray) -> None:
        height, width = self._view.size
        corners = torch.from_numpy(box_xyxy * np.array([width, height, width, height]))
        prompt = {
            "point_coords": corners.to(session.dtype).reshape(1, 1, 2, 2),
            "point_labels": _CORNERS,
        }
        session.add_point_inputs(session.obj_id_to_idx(identity), t, prompt)


def mask_boxes(masks: Tensor) -> FloatArray:
    """Return the relative corners of the box around each mask, NaN for an empty mask.

    Args:
        masks: Boolean masks, shape (N, h, w).

    Returns:
        Corners of shape (N, 4).
    """
    boxes = np.full((len(masks), 4), np.nan)
    for axis, projection in ((0, masks.any(dim=1)), (1, masks.any(dim=2))):
        line = projection.cpu().numpy()
        filled = line.any(axis=1)
        length = line.shape[1]
        boxes[filled, axis] = line[filled].argmax(axis=1) / length
        boxes[filled, 2 + axis] = (length - line[filled, ::-1].argmax(axis=1)) / length
    return boxes
