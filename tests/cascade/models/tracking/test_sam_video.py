"""SAM 2.1 on clips: the real network, tiny and random, and an oracle by color."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_sam2
import torch
from torch import nn
from transformers import Sam2VideoProcessor

from cascade import protocols
from cascade.errors import BadPredictionsError, CheckpointError
from cascade.imaging.batches import Batch
from cascade.models.tracking.association import assign_boxes
from cascade.models.tracking.sam_video import SamVideo, mask_boxes
from cascade.predictions import Detections

SIDE = tiny_sam2.SIDE
COLORS = [(250, 20, 20), (20, 250, 20), (20, 20, 250)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_sam2.write_as_published(tmp_path_factory.mktemp("sam"))


@pytest.fixture
def tracker(folder):
    return SamVideo(folder)


def square(x, y=0.5, side=0.25):
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def clip(*frames, scores=None):
    """A clip of SIDE by SIDE pixels; each frame is a list of (color, x), in the boxes' order."""
    images, detections = [], []
    for shown in frames:
        image = np.full((SIDE, SIDE, 3), 128, np.uint8)
        boxes = np.array([square(x) for _, x in shown], np.float32).reshape(-1, 4)
        for (color, _), (x1, y1, x2, y2) in zip(
            shown, (boxes * SIDE).round().astype(int), strict=True
        ):
            image[y1:y2, x1:x2] = COLORS[color]
        images.append(image)
        detections.append(
            Detections(
                boxes_xyxy=boxes,
                scores=np.full(len(boxes), 0.9, np.float32) if scores is None else scores,
                class_ids=np.zeros(len(boxes), np.int64),
                classes=("cone",),
            )
        )
    batch = Batch(ids=tuple(f"f{i}" for i in range(len(images))), images=tuple(images))
    return detections, batch


class ByColor(nn.Module):
    """Network whose masks are the pixels with the color at the prompt's center."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, inference_session, frame_idx):
        session, masks = inference_session, []
        for idx in range(session.get_obj_num()):
            ((shown, prompt),) = session.point_inputs_per_obj[idx].items()
            u, v = prompt["point_coords"][0, 0].mean(dim=0).long()
            color = session.get_frame(shown)[:, v, u]
            same = (session.get_frame(frame_idx) - color[:, None, None]).abs().amax(dim=0) < 0.1
            masks.append(torch.where(same, 10.0, -10.0)[None, None])
        return SimpleNamespace(object_ids=session.obj_ids.copy(), pred_masks=torch.cat(masks))


@pytest.fixture
def by_color(tracker):
    tracker.module = ByColor()
    return tracker


def ids(tracker, frames, batch):
    return [tracks.track_ids.tolist() for tracks in tracker.track(frames, batch)]


def test_crossing_objects_keep_identities(by_color):
    """The second hides the first for a frame, then they have swapped positions and order."""
    frames = [
        [(0, 0.2), (1, 0.8)],
        [(0, 0.35), (1, 0.65)],
        [(1, 0.5)],
        [(1, 0.35), (0, 0.65)],
        [(1, 0.2), (0, 0.8)],
    ]
    assert ids(by_color, *clip(*frames)) == [[0, 1], [0, 1], [1], [1, 0], [1, 0]]


def test_object_hidden_for_3_frames_keeps_identity(by_color):
    """At a position that no motion explains."""
    frames = [[(0, 0.2)], [(0, 0.2)], [], [], [], [(0, 0.8)]]
    assert ids(by_color, *clip(*frames)) == [[0], [0], [], [], [], [0]]


def test_later_object_gets_new_identity(by_color):
    frames = [[], [(0, 0.2)], [(0, 0.2), (1, 0.5)], [(2, 0.8), (1, 0.5), (0, 0.2)]]
    assert ids(by_color, *clip(*frames)) == [[], [0], [0, 1], [2, 1, 0]]


def test_low_score_box_does_not_start_track(by_color):
    frames = [[(0, 0.2), (1, 0.8)]] * 2
    unsure = np.array([0.9, 0.3], np.float32)
    assert ids(by_color, *clip(*frames, scores=unsure)) == [[0, -1]] * 2


def test_clips_are_independent(by_color):
    frames, batch = clip([(0, 0.2), (1, 0.8)])
    assert ids(by_color, frames, batch) == ids(by_color, frames, batch) == [[0, 1]]


CLIP = [[(0, 0.25), (1, 0.75)], [(0, 0.3), (1, 0.7)], [], [(0, 0.4), (1, 0.6), (2, 0.85)]]


def test_real_network_identifies_every_high_score_box(tracker):
    """Random weights track nothing, but their output is used."""
    frames, batch = clip(*CLIP)
    tracks = tracker.track(frames, batch)
    assert [frame_tracks.detections for frame_tracks in tracks] == frames
    assert [len(frame_tracks) for frame_tracks in tracks] == [2, 2, 0, 3]
    assert all((frame_tracks.track_ids >= 0).all() for frame_tracks in tracks)
    assert tracks[0].track_ids.tolist() == [0, 1]
    again = tracker.track(frames, batch)
    for item, other in zip(tracks, again, strict=True):
        assert item.track_ids.tolist() == other.track_ids.tolist()


def test_inputs_match_official_processor(tracker, folder):
    """The official session has equal masks for the same clip and boxes."""
    frames, batch = clip(*CLIP)
    session = tracker._session(batch)
    official = Sam2VideoProcessor.from_pretrained(folder)
    theirs = official.init_video_session(video=np.stack(batch.images))
    for t in range(len(CLIP)):
        assert torch.allclose(session.get_frame(t), theirs.get_frame(t), atol=1 / 255 / 0.2)
    with torch.inference_mode():
        for row, box in enumerate(frames[0].boxes_xyxy):
            tracker._add_object(session, 0, row, box)
        session.obj_with_new_inputs = [0, 1]
        official.add_inputs_to_inference_session(
            inference_session=theirs,
            frame_idx=0,
            obj_ids=[0, 1],
            input_boxes=[(frames[0].boxes_xyxy * SIDE).tolist()],
        )
        for t in range(len(CLIP)):
            mine = tracker.module(inference_session=session, frame_idx=t)
            other = tracker.module(inference_session=theirs, frame_idx=t)
            assert mine.object_ids == other.object_ids == [0, 1]
            assert mine.pred_masks.std() > 0
            assert torch.allclose(mine.pred_masks, other.pred_masks, rtol=1e-3, atol=1e-3)


def test_images_of_different_sizes_are_tracked(tracker):
    frames, batch = clip(*CLIP)
    larger = Batch(ids=batch.ids, images=tuple(np.zeros((90, 160, 3), np.uint8) for _ in CLIP))
    assert len(tracker.track(frames, larger)) == len(CLIP)


@pytest.mark.parametrize("n", [0, 2])
def test_frames_without_objects(tracker, n):
    assert ids(tracker, *clip(*[[]] * n)) == [[]] * n


def test_different_numbers_of_frames_and_images_are_refused(tracker):
    frames, batch = clip(*CLIP)
    with pytest.raises(BadPredictionsError, match="got 3 for 4 images"):
        tracker.track(frames[:3], batch)


def test_model_is_tracker(tracker):
    assert isinstance(tracker, protocols.Tracker)
    assert not any(parameter.requires_grad for parameter in tracker.module.parameters())


def test_image_model_is_refused(tmp_path):
    """Its folder lacks the memory that a clip needs."""
    tiny_sam2.CASES["sam2"].write(tmp_path)
    with pytest.raises(CheckpointError, match="contains a model of the type 'sam2'"):
        SamVideo(tmp_path)


def test_mask_boxes_by_hand():
    """Columns 1 and 2 of 4, row 3 of 5; nothing at all; everything."""
    masks = torch.zeros(3, 5, 4, dtype=torch.bool)
    masks[0, 3, 1:3] = True
    masks[2] = True
    boxes = mask_boxes(masks)
    assert boxes[0] == pytest.approx([0.25, 0.6, 0.75, 0.8])
    assert np.isnan(boxes[1]).all()
    assert boxes[2].tolist() == [0, 0, 1, 1]


def test_assign_boxes_by_hand():
    """The second box overlaps both, the first only the first: the best sum gives each its own."""
    carried = np.array([[0.0, 0, 1, 1], [0.5, 0, 1.5, 1]])
    boxes = np.array([[0.2, 0.0, 1.2, 1.0], [-0.5, 0.0, 0.5, 1.0], [5.0, 5, 6, 6]])
    assert assign_boxes(carried, boxes, 0.3).tolist() == [1, 0, -1]
    assert assign_boxes(carried, boxes, 0.5).tolist() == [1, -1, -1]
    assert assign_boxes(carried[:0], boxes, 0.3).tolist() == [-1, -1, -1]
