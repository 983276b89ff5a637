"""SAM 2.1 of transformers, through a clip: what is in a box at first is followed as a mask [0].

Each object is prompted once, by the box in which it was first found; from then on the network
remembers what it looks like, and the box around its mask meets the boxes of each frame.

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
from cascade.models.huggingface import image_processor, pretrained
from cascade.models.tracking.association import assigned, expect_as_many
from cascade.predictions import Detections, Tracks

ADAPTER = "sam_video"
FAMILIES = ("sam2_video",)
_CORNERS = torch.tensor([[[2, 3]]], dtype=torch.int32)  # "top left" and "bottom right" of a prompt


class SamVideo:
    """Gives boxes of a clip an identity, by masks; a fresh memory per clip.

    The network looks at one object at a time, and forgets none: time grows with frames times
    objects. A frame with new objects is looked at twice.
    """

    def __init__(
        self, checkpoint: Path | None = None, *, start_score: float = 0.5, min_iou: float = 0.3
    ) -> None:
        """Load the network.

        Args:
            checkpoint: A snapshot of a hub repository, or what `save_pretrained` wrote.
            start_score: A box that is less sure begins no track.
            min_iou: Least overlap of a box with the box around an object's mask.

        Raises:
            CheckpointError: The checkpoint is absent, not whole or another family's.
        """
        folder = pretrained.folder_of(checkpoint, FAMILIES, adapter=ADAPTER)
        self._processor = image_processor.read(folder)
        self._start_score = start_score
        self._min_iou = min_iou
        self.module: Any = pretrained.network(Sam2VideoModel, folder)

    def track(self, frames: Sequence[Detections], batch: Batch) -> list[Tracks]:
        """Return the frames' boxes, in their order, with an identity each.

        A box that continues no track and is too unsure to begin one gets -1.

        Args:
            frames: What was found in each frame, in order of time.
            batch: The frames' images.

        Raises:
            BadPredictionsError: There are not as many frames as images.
        """
        expect_as_many(frames, batch)
        if not frames:
            return []
        session = self._session(batch)
        tracks: list[Tracks] = []
        with torch.inference_mode():
            for t, found in enumerate(frames):
                tracks.append(Tracks(found, self._identities(session, t, found)))
        return tracks

    def _session(self, batch: Batch) -> Any:
        """Return the network's memory of a clip, which knows no object yet."""
        height, width = self._processor.size
        return Sam2VideoInferenceSession(
            video=self._processor.normalised(self._processor.view(batch)),
            video_height=height,
            video_width=width,
            inference_device=batch.device,
            inference_state_device=batch.device,
            video_storage_device=batch.device,
            dtype=next(self.module.parameters()).dtype,
        )

    def _identities(self, session: Any, t: int, found: Detections) -> IntArray:
        """Return who each box of frame t is; who is new is shown to the network."""
        known, carried = self._carried(session, t)
        continued = assigned(carried, found.boxes_xyxy, self._min_iou)
        given = np.array([known[row] if row >= 0 else -1 for row in continued], np.int64)
        new = np.flatnonzero((given < 0) & (found.scores >= self._start_score))
        given[new] = session.get_obj_num() + np.arange(len(new))
        for row in new:
            self._show(session, t, int(given[row]), found.boxes_xyxy[row])
        if len(new):
            session.obj_with_new_inputs = [int(one) for one in given[new]]
            self.module(inference_session=session, frame_idx=t)
        return given

    def _carried(self, session: Any, t: int) -> tuple[list[int], FloatArray]:
        """Return the objects that are seen in frame t, and the boxes around their masks."""
        if not session.get_obj_num():
            return [], np.zeros((0, 4))
        raw = self.module(inference_session=session, frame_idx=t)
        boxes = around(raw.pred_masks[:, 0] > 0)
        seen = np.flatnonzero(np.isfinite(boxes).all(axis=1))  # what is gone has no mask
        return [raw.object_ids[k] for k in seen], boxes[seen]

    def _show(self, session: Any, t: int, identity: int, box_xyxy: FloatArray) -> None:
        height, width = self._processor.size
        corners = torch.from_numpy(box_xyxy * np.array([width, height, width, height]))
        prompt = {
            "point_coords": corners.to(session.dtype).reshape(1, 1, 2, 2),
            "point_labels": _CORNERS,
        }
        session.add_point_inputs(session.obj_id_to_idx(identity), t, prompt)


def around(masks: Tensor) -> FloatArray:
    """Return the relative corners of the box around each mask, NaN around nothing.

    Args:
        masks: Boolean, shape (N, h, w).

    Returns:
        Shape (N, 4).
    """
    boxes = np.full((len(masks), 4), np.nan)
    for axis, side in ((0, masks.any(dim=1)), (1, masks.any(dim=2))):
        line = side.cpu().numpy()
        some = line.any(axis=1)
        length = line.shape[1]
        boxes[some, axis] = line[some].argmax(axis=1) / length
        boxes[some, 2 + axis] = (length - line[some, ::-1].argmax(axis=1)) / length
    return boxes
