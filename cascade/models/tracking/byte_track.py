"""ByteTrack: follows boxes by a Kalman filter and overlap [0], without looking at the images.

The tracker itself is that of the package `trackers` (Apache-2.0), which alone is spoken to here.

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
from cascade.models.tracking.association import expect_as_many
from cascade.predictions import Detections, Tracks


class ByteTrack:
    """Gives boxes of a clip an identity; a fresh tracker per clip.

    Classes take no part: an object that is called a cone, then a drum, stays one object.
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
        """Set up; there is nothing to load.

        Args:
            checkpoint: None; it has no weights.
            start_score: A box that is less sure begins no track.
            sure_score: Surer boxes choose their tracks first; the others may only continue one.
            min_iou: Least overlap of a box with where its track is expected.
            frames_lost: For how many frames an object may be out of sight.

        Raises:
            CheckpointError: A checkpoint is given.
        """
        if checkpoint is not None:
            raise CheckpointError(f"byte_track has no weights, got {checkpoint}; give no source.")
        self.module = nn.Identity()
        self._start_score = max(start_score, sure_score)
        self._sure_score = sure_score
        self._min_iou = min_iou
        self._frames_lost = frames_lost

    def track(self, frames: Sequence[Detections], batch: Batch) -> list[Tracks]:
        """Return the frames' boxes, in their order, with an identity each.

        A box that is seen once only, or too unsure to begin a track, gets -1.

        Args:
            frames: What was found in each frame, in order of time.
            batch: The frames' images; nobody looks at them.

        Raises:
            BadPredictionsError: There are not as many frames as images.
        """
        expect_as_many(frames, batch)
        tracker = ByteTrackTracker(
            lost_track_buffer=self._frames_lost,
            frame_rate=30.0,  # which makes the buffer one of frames
            track_activation_threshold=self._start_score,
            minimum_consecutive_frames=1,
            minimum_iou_threshold=self._min_iou,
            high_conf_det_threshold=self._sure_score,
        )
        identities = [np.full(len(one), -1, np.int64) for one in frames]
        begun = []
        for of_frame, found in zip(identities, frames, strict=True):
            rows, given = _update(tracker, found)
            of_frame[rows] = given
            # The package names a track only at its second box, though it has all of it in view.
            new = rows[(given < 0) & (found.scores[rows] >= self._start_score)]
            tracks = tracker.tracks[len(tracker.tracks) - len(new) :]
            begun += [(of_frame, row, one) for row, one in zip(new, tracks, strict=True)]
        for of_frame, row, one in begun:
            of_frame[row] = one.tracker_id
        return [Tracks(found, given) for found, given in zip(frames, identities, strict=True)]


def _update(
    tracker: ByteTrackTracker, found: Detections
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which box each answer is about, and its identity; -1 for none (yet).

    Boxes stay relative: filter and overlap are linear, so that the unit does not matter.
    """
    answer = tracker.update(
        supervision.Detections(
            xyxy=found.boxes_xyxy.astype(np.float64),
            confidence=np.asarray(found.scores, np.float64),
            data={"row": np.arange(len(found))},
        )
    )
    rows = answer.data.get("row", np.zeros(0))
    return np.asarray(rows, np.int64), np.asarray(answer.tracker_id, np.int64)
