"""ByteTrack on simple synthetic clips."""

import numpy as np
import pytest
import torch

from cascade import protocols, registry
from cascade.errors import BadPredictionsError, CheckpointError
from cascade.imaging.batches import Batch
from cascade.models.tracking.byte_track import ByteTrack
from cascade.predictions import Detections

CLASSES = ("cone", "drum")


def frame(*boxes, scores=None, class_ids=None):
    """Return the detections of a frame, in the given order."""
    n = len(boxes)
    return Detections(
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array([0.9] * n if scores is None else scores, np.float32),
        class_ids=np.array([0] * n if class_ids is None else class_ids, np.int64),
        classes=CLASSES,
    )


def clip_of(n):
    image = np.zeros((90, 160, 3), np.uint8)
    return Batch(ids=tuple(f"f{i}" for i in range(n)), images=(image,) * n)


def ids(frames, **params):
    tracks = ByteTrack(**params).track(frames, clip_of(len(frames)))
    return [frame_tracks.track_ids.tolist() for frame_tracks in tracks]


def at(x, y=0.5, side=0.1):
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


CROSSING = [frame(at(0.2 + 0.05 * t), at(0.8 - 0.05 * t, y=0.54)) for t in range(13)]


def test_object_has_one_identity_from_first_box():
    assert ids([frame(at(0.2 + 0.02 * t)) for t in range(5)]) == [[0]] * 5


def test_crossing_objects_keep_identities():
    """They meet in the seventh frame, four hundredths apart in y, and go on."""
    assert ids(CROSSING) == [[0, 1]] * 13


def test_boxes_keep_order():
    """The second object is listed first in every other frame."""
    turned = [boxes if t % 2 else boxes[[1, 0]] for t, boxes in enumerate(CROSSING)]
    first, second = ids(turned)[:2]
    assert ids(turned) == [first, second] * 6 + [first]
    assert sorted(first) == [0, 1]
    assert second == first[::-1]


def test_object_hidden_for_3_frames_keeps_identity():
    """It moves on, hidden, at constant speed."""
    frames = [frame(at(0.1 + 0.02 * t)) if t not in (5, 6, 7) else frame() for t in range(12)]
    assert ids(frames) == [[0]] * 5 + [[]] * 3 + [[0]] * 4


def test_object_hidden_too_long_gets_new_identity():
    frames = [frame(at(0.5)) if t not in (5, 6, 7) else frame() for t in range(12)]
    assert ids(frames, frames_lost=2) == [[0]] * 5 + [[]] * 3 + [[1]] * 4


def test_box_seen_once_has_no_identity():
    frames = [frame(at(0.2)), frame(at(0.2), at(0.8)), frame(at(0.2))]
    assert ids(frames) == [[0], [0, -1], [0]]


def test_low_score_box_continues_but_does_not_start_track():
    frames = [frame(at(0.2), at(0.8), scores=[s, 0.2]) for s in (0.9, 0.9, 0.2, 0.9)]
    assert ids(frames) == [[0, -1]] * 4


def test_tracks_keep_classes_and_scores():
    """An object keeps its identity when its class changes."""
    frames = [frame(at(0.2), class_ids=[t % 2], scores=[0.6 + t / 10]) for t in range(3)]
    tracks = ByteTrack().track(frames, clip_of(3))
    assert [frame_tracks.detections.labels for frame_tracks in tracks] == [
        ["cone"],
        ["drum"],
        ["cone"],
    ]
    assert [frame_tracks.detections for frame_tracks in tracks] == frames
    assert [frame_tracks.track_ids.tolist() for frame_tracks in tracks] == [[0]] * 3


def test_clips_are_independent():
    tracker = ByteTrack()
    batch = clip_of(13)
    first, second = tracker.track(CROSSING, batch), tracker.track(CROSSING, batch)
    for tracks, other in zip(first, second, strict=True):
        assert tracks.track_ids.tolist() == other.track_ids.tolist()
    assert second[0].track_ids.tolist() == [0, 1]


def test_many_objects_keep_distinct_identities():
    """Eighty cones that drift to the left, some of them missed now and then."""
    rng = np.random.default_rng(0)
    names = np.arange(80)
    frames, shown = [], []
    for t in range(10):
        seen = rng.permutation(names[rng.random(80) < 0.9])
        frames.append(
            frame(*(at(0.1 + k % 10 * 0.09 - 0.004 * t, 0.1 + k // 10 * 0.1, 0.05) for k in seen))
        )
        shown.append(seen)
    identities = ids(frames)
    meaning = {}
    for row, seen in zip(identities, shown, strict=True):
        for track_id, name in zip(row, seen, strict=True):
            assert meaning.setdefault(track_id, name) == name or track_id == -1
    assert sum(row.count(-1) for row in identities) < 5


def test_frames_without_boxes():
    assert ids([frame(), frame(), frame()]) == [[], [], []]


def test_clip_without_frames():
    assert ids([]) == []


def test_different_numbers_of_frames_and_images_are_refused():
    with pytest.raises(BadPredictionsError, match="got 2 for 3 images"):
        ByteTrack().track([frame(), frame()], clip_of(3))


def test_weights_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="byte_track has no weights"):
        ByteTrack(tmp_path)


def test_registry_builds_tracker():
    tracker = registry.create("byte_track", frames_lost=5)
    assert isinstance(tracker, protocols.Tracker)
    assert isinstance(tracker.module, torch.nn.Module)
