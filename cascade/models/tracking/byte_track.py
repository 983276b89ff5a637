"""ByteTrack: tracks boxes by a Kalman filter and overlap [0], without the images.

The tracker is that of the package `trackers` (Apache-2.0), used by this file only.

- [0] Zhang et al., ByteTrack: Multi-Object Tracking by Associating Every Detection Box, ECCV 2022
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import supervision
from numpy.typing import NDArray
from torch import nn
from trackers import ByteTrackTracker

from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.models.tracking.association import check_clip
from cascade.predictions import Detections, Tracks


class ByteTrack:
    """Tracker of the boxes of a clip, with new state per clip.

    Classes are ignored: an object detected as a cone, then as a drum, keeps its identity.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        start_score: float = 0.5,
        sure_score: float = 0.5,
        min_iou: float = 0.1,
        frames_lost: int = 30,
    ) -> None:
        """Initialize the tracker.

        Args:
            checkpoint: None, since the tracker has no weights.
            start_score: Minimum score of a track's first box.
            sure_score: Score above which boxes are assigned first; others only continue tracks.
            min_iou: Minimum overlap of a box with its track's prediction.
            frames_lost: Number of frames that an object may be out of sight.

        Raises:
            CheckpointError: A checkpoint was passed.
        """
        if checkpoint is not None:
            raise CheckpointError(f"byte_track has no weights, got {checkpoint}; omit the source.")
        self.module = nn.Identity()
        self._start_score = max(start_score, sure_score)
        self._sure_score = sure_score
        self._min_iou = min_iou
        self._frames_lost = frames_lost

    def track(self, frames: Sequence[Detections], batch: Batch) -> list[Tracks]:
        """Return the frames' boxes, in their order, with their identities.

        A box that is seen once only, or is below `start_score` without a track, gets -1.

        Args:
            frames: Detections of each frame, in temporal order.
            batch: Images of the frames; not used.

        Raises:
            BadPredictionsError: The numbers of frames and images differ.
        """
        check_clip(frames, batch)
        tracker = ByteTrackTracker(
            lost_track_buffer=self._frames_lost,
            frame_rate=30.0,  # at this rate the buffer counts frames
            track_activation_threshold=self._start_score,
            minimum_consecutive_frames=1,
            minimum_iou_threshold=self._min_iou,
            high_conf_det_threshold=self._sure_score,
        )
        identities = [np.full(len(detections), -1, np.int64) for detections in frames]
        first_boxes = []
        for frame_ids, detections in zip(identities, frames, strict=True):
            rows, ids = _update(tracker, detections)
            frame_ids[rows] = ids
            # The package assigns an identity at a track's second box: add it to the first.
            new = rows[(ids < 0) & (detections.scores[rows] >= self._start_score)]
            tracks = tracker.tracks[len(tracker.tracks) - len(new) :]
            first_boxes += [(frame_ids, row, track) for row, track in zip(new, tracks, strict=True)]
        for frame_ids, row, track in first_boxes:
            frame_ids[row] = track.tracker_id
        return [Tracks(boxes, ids) for boxes, ids in zip(frames, identities, strict=True)]


def _update(
    tracker: ByteTrackTracker, detections: Detections
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row of each of the tracker's results, and its identity; -1 for none (yet).

    Boxes stay relative: filter and overlap are linear and independent of the unit.
    """
    result = tracker.update(
        supervision.Detections(
            xyxy=detections.boxes_xyxy.astype(np.float64),
            confidence=np.asarray(detections.scores, np.float64),
            data={"row": np.arange(len(detections))},
        )
    )
    rows = result.data.get("row", np.zeros(0))
    return np.asarray(rows, np.int64), np.asarray(result.tracker_id, np.int64)
