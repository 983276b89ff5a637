"""CoTracker: refusals, identities from points, and loading of a checkout.

The authors' code and weights are not for commercial use and are not here: a stand-in checkout
with the same doors takes their place, so what the network itself finds is not tested.
"""

import numpy as np
import pytest
import torch

from cascade import protocols
from cascade.errors import BadPredictionsError, CheckpointError
from cascade.imaging.batches import Batch
from cascade.models.tracking.cotracker import WEIGHTS, CoTracker, link_boxes
from cascade.predictions import Detections

STAND_IN = '''
import torch
from torch import nn


class Predictor(nn.Module):
    """Every point moves by the weights' value, in pixels per frame."""

    interp_shape = (384, 512)

    def __init__(self):
        super().__init__()
        self.model = nn.Module()
        self.model.speed = nn.Parameter(torch.zeros(2))

    def forward(self, video, queries):
        assert video.shape[2:] == (3, 384, 512) and video.dtype == torch.float32
        frames = torch.arange(video.shape[1], device=video.device)
        ago = frames[:, None] - queries[0, :, 0]
        points = queries[0, :, 1:] + ago[..., None] * self.model.speed
        return points[None], torch.ones(1, *ago.shape, dtype=torch.bool)


def cotracker3_offline(*, pretrained=True, **kwargs):
    assert not pretrained, "would download"
    return Predictor()
'''


def boxes(*centers_x, y=0.5, side=0.1):
    """Boxes of one frame, by the middle of each."""
    x = np.array(centers_x, float)
    y = np.full(len(x), y)
    return np.stack([x - side / 2, y - side / 2, x + side / 2, y + side / 2], axis=1)


def perfect(frames, paths):
    """True positions of each box's center; `paths` has each object's position per frame."""
    starts = [float(x) for frame in frames for x in (frame[:, 0] + frame[:, 2]) / 2]
    frame = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
    owner = [int(np.abs(paths[:, t] - x).argmin()) for t, x in zip(frame, starts, strict=True)]
    x = paths[owner].T.reshape(len(frames), len(owner))
    return np.stack([x, np.full_like(x, 0.5)], axis=-1)


def linked(frames, paths, visible=None, min_iou=0.3):
    points = perfect(frames, np.array(paths, float))
    seen = np.ones(points.shape[:2], bool) if visible is None else visible
    return [ids.tolist() for ids in link_boxes(frames, points, seen, min_iou)]


def test_crossing_objects_keep_identities():
    """They swap their places and their order in the list."""
    paths = [[0.2, 0.4, 0.6, 0.8], [0.8, 0.65, 0.5, 0.35]]
    frames = [boxes(0.2, 0.8), boxes(0.65, 0.4), boxes(0.5, 0.6), boxes(0.8, 0.35)]
    assert linked(frames, paths) == [[0, 1], [1, 0], [1, 0], [0, 1]]


def test_object_hidden_for_3_frames_keeps_identity():
    frames = [boxes(0.2), boxes(0.3), boxes(), boxes(), boxes(), boxes(0.7)]
    assert linked(frames, [[0.2, 0.3, 0.4, 0.5, 0.6, 0.7]]) == [[0], [0], [], [], [], [0]]


def test_object_with_hidden_point_is_not_matched():
    """Another object is at its position meanwhile."""
    frames = [boxes(0.2), boxes(0.3), boxes(0.4)]
    points = perfect(frames, np.array([[0.2, 0.3, 0.4]]))
    visible = np.ones(points.shape[:2], bool)
    visible[1, 0] = False
    frames = link_boxes(frames, points, visible, 0.3)
    assert [tracks.tolist() for tracks in frames[:2]] == [[0], [1]]


def test_box_without_point_is_new_object():
    frames = [boxes(0.2), boxes(0.2, 0.8), boxes(0.8)]
    assert linked(frames, [[0.2, 0.2, 0.2], [0.8, 0.8, 0.8]]) == [[0], [0, 1], [1]]


def test_box_with_low_overlap_is_new_object():
    """Two boxes 0.1 wide that are 0.05 apart: a third of their union is common."""
    frames = [boxes(0.2), boxes(0.25)]
    points = np.array([[[0.2, 0.5], [0.25, 0.5]]] * 2)
    visible = np.ones((2, 2), bool)
    assert link_boxes(frames, points, visible, 0.30)[1].tolist() == [0]
    assert link_boxes(frames, points, visible, 0.35)[1].tolist() == [1]


def test_frames_without_boxes():
    assert linked([boxes(), boxes()], np.zeros((1, 2))) == [[], []]


def test_clip_without_frames():
    assert link_boxes([], np.zeros((0, 0, 2)), np.zeros((0, 0), bool), 0.3) == []


def checkout(folder, speed_px=(0.0, 0.0), state=None):
    """Return a folder with the entry points of the authors' checkout."""
    (folder / "hubconf.py").write_text(STAND_IN)
    (folder / WEIGHTS).parent.mkdir()
    torch.save(state or {"speed": torch.tensor(speed_px)}, folder / WEIGHTS)
    return folder


def clip(frames):
    """Frames of 64 by 128 pixels."""
    image = np.zeros((64, 128, 3), np.uint8)
    n = len(frames)
    batch = Batch(ids=tuple(map(str, range(n))), images=(image,) * n)
    frames = [
        Detections(
            boxes_xyxy=frame.astype(np.float32),
            scores=np.full(len(frame), 0.9, np.float32),
            class_ids=np.zeros(len(frame), np.int64),
            classes=("cone",),
        )
        for frame in frames
    ]
    return frames, batch


def test_checkout_is_loaded_and_points_move_boxes(tmp_path):
    """51.2 of 512 pixels a frame are a tenth of the image, as the boxes move."""
    tracker = CoTracker(checkout(tmp_path, speed_px=(51.2, 0.0)))
    assert isinstance(tracker, protocols.Tracker)
    frames, batch = clip([boxes(0.2, 0.5), boxes(0.6, 0.3), boxes(0.4, 0.7)])
    tracks = tracker.track(frames, batch)
    assert [frame_tracks.track_ids.tolist() for frame_tracks in tracks] == [[0, 1], [1, 0], [0, 1]]
    assert [frame_tracks.detections for frame_tracks in tracks] == frames
    assert not any(parameter.requires_grad for parameter in tracker.module.parameters())


def test_weights_change_tracks(tmp_path):
    """Static points do not match moving boxes."""
    frames, batch = clip([boxes(0.2), boxes(0.3)])
    tracks = CoTracker(checkout(tmp_path)).track(frames, batch)
    assert [frame_tracks.track_ids.tolist() for frame_tracks in tracks] == [[0], [1]]


@pytest.mark.parametrize("n", [0, 2])
def test_frames_without_objects(tmp_path, n):
    frames, batch = clip([boxes()] * n)
    tracks = CoTracker(checkout(tmp_path)).track(frames, batch)
    assert [len(frame_tracks) for frame_tracks in tracks] == [0] * n


def test_different_numbers_of_frames_and_images_are_refused(tmp_path):
    frames, batch = clip([boxes(0.2), boxes(0.3)])
    with pytest.raises(BadPredictionsError, match="got 1 for 2 images"):
        CoTracker(checkout(tmp_path)).track(frames[:1], batch)


HOW = "Clone https://github.com/facebookresearch/co-tracker, .* CC-BY-NC-4.0"


def test_missing_checkout_is_refused_with_instructions(tmp_path):
    with pytest.raises(CheckpointError, match=f"no source was set. {HOW}"):
        CoTracker()
    with pytest.raises(CheckpointError, match=f"has no hubconf.py. {HOW}"):
        CoTracker(tmp_path)


def test_checkout_without_weights_is_refused(tmp_path):
    (checkout(tmp_path) / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=f"scaled_offline.pth. {HOW}"):
        CoTracker(tmp_path)


def test_weights_of_other_model_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"Cannot load CoTracker from .*speed"):
        CoTracker(checkout(tmp_path, state={"other": torch.zeros(1)}))


class Sly:
    """Would run code on being unpickled."""

    def __reduce__(self):
        return print, ("gotcha",)


def test_weights_that_run_code_are_refused(tmp_path, capsys):
    with pytest.raises(CheckpointError, match="Cannot load CoTracker"):
        CoTracker(checkout(tmp_path, state={"speed": Sly()}))
    assert "gotcha" not in capsys.readouterr().out


def test_checkout_with_missing_dependency_is_refused(tmp_path):
    folder = checkout(tmp_path)
    (folder / "hubconf.py").write_text("import cotracker.no_such_module\n")
    with pytest.raises(CheckpointError, match=r"Cannot load CoTracker from .*No module named"):
        CoTracker(folder)
