"""Pixels and boxes follow the same change: a drawn object stays inside its box."""

import numpy as np
import pytest
import torch

from cascade.predictions import Detections
from cascade.training.augmentation.augment import UNCHANGED, Change, Effects, apply, crop, draw

SIDE = 100


def view_with(box):
    """A black view with a white box."""
    view = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    x1, y1, x2, y2 = (round(SIDE * corner) for corner in box)
    view[:, :, y1:y2, x1:x2] = 255
    return view


def target(*boxes):
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.ones(len(boxes), np.float32),
        np.arange(len(boxes), dtype=np.int64),
        tuple(str(i) for i in range(max(len(boxes), 1))),
    )


def bright_box(view):
    """Return the relative box around the bright pixels."""
    y, x = torch.nonzero(view[0, 0] > 127, as_tuple=True)
    return [float(pixel) / SIDE for pixel in (x.min(), y.min(), x.max() + 1, y.max() + 1)]


BOX = (0.4, 0.3, 0.6, 0.8)
CHANGES = [
    pytest.param(UNCHANGED, BOX, id="unchanged"),
    pytest.param(Change(flip=True), (0.4, 0.3, 0.6, 0.8), id="flip of a box in the middle"),
    pytest.param(Change(window=(0.0, 0.0, 0.8, 1.0)), (0.5, 0.3, 0.75, 0.8), id="cut right"),
    pytest.param(
        Change(window=(0.0, 0.0, 0.8, 1.0), flip=True), (0.25, 0.3, 0.5, 0.8), id="cut and flip"
    ),
    pytest.param(Change(window=(-0.5, -0.5, 1.5, 1.5)), (0.45, 0.4, 0.55, 0.65), id="seen smaller"),
    pytest.param(Change(window=(0.5, 0.5, 1.0, 1.0)), (0.0, 0.0, 0.2, 0.6), id="partly outside"),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES)
def test_boxes_follow_change(change, expected):
    _, (moved,) = apply(view_with(BOX), [target(BOX)], [change])
    assert moved.boxes_xyxy[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("change", "expected"), CHANGES)
def test_pixels_follow_change(change, expected):
    view, _ = apply(view_with(BOX), [target(BOX)], [change])
    assert bright_box(view) == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize("seed", range(5))
def test_random_change_moves_pixels_and_boxes_together(seed):
    box = (0.45, 0.4, 0.6, 0.7)
    change = draw(np.random.default_rng(seed))
    window_only = Change(window=change.window, flip=change.flip)
    view, (moved,) = apply(view_with(box), [target(box)], [window_only])
    assert len(moved) == 1
    assert bright_box(view) == pytest.approx(moved.boxes_xyxy[0], abs=0.02)


def test_mostly_invisible_boxes_are_dropped():
    a_fifth, a_half = (0.3, 0.3, 0.8, 0.7), (0.5, 0.3, 0.9, 0.7)
    _, (moved,) = apply(
        view_with(BOX), [target(a_fifth, a_half)], [Change(window=(0.7, 0.0, 1.7, 1.0))]
    )
    assert moved.labels == ["1"]
    assert moved.boxes_xyxy[0] == pytest.approx((0.0, 0.3, 0.2, 0.7))


def test_unchanged_image_keeps_every_bit():
    views = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    changed, targets = apply(views, [target(BOX), target()], [UNCHANGED, Change(flip=True)])
    assert torch.equal(changed[0], views[0])
    assert torch.equal(changed[1], views[1].flip(-1))
    assert [len(boxes) for boxes in targets] == [1, 0]


def test_apply_keeps_its_input():
    views = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    before = views.clone()
    apply(views, [target()], [draw(np.random.default_rng(0))])
    assert torch.equal(views, before)


@pytest.mark.parametrize(
    ("change", "pixel"),
    [
        pytest.param(Change(gains=(0.5, 1.0, 2.0)), [50, 100, 240], id="color"),
        pytest.param(Change(contrast=0.0), [107, 107, 107], id="no contrast is the mean"),
        pytest.param(Change(saturation=0.0), [107, 107, 107], id="no saturation is gray"),
    ],
)
def test_light_follows_change(change, pixel):
    view = torch.tensor([100, 100, 120], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    changed, _ = apply(view, [target()], [change])
    assert changed[0, :, 4, 4].tolist() == pytest.approx(pixel, abs=1)


def test_strength_zero_allows_only_flip():
    change = draw(np.random.default_rng(0), strength=0.0)
    assert change in (UNCHANGED, Change(flip=True))


def test_draw_is_reproducible():
    assert draw(np.random.default_rng(7)) == draw(np.random.default_rng(7))


EFFECTS = [
    pytest.param({"night": 0.8}, id="night"),
    pytest.param({"rain": 0.8}, id="rain"),
    pytest.param({"blur": 1.0}, id="blur"),
    pytest.param({"jpeg": 30}, id="JPEG"),
]


@pytest.mark.parametrize("effect", EFFECTS)
def test_effect_changes_only_its_image_and_moves_nothing(effect):
    views = torch.cat([view_with(BOX)] * 3)
    changes = [Change(flip=True), Change(seed=5, **effect), UNCHANGED]
    changed, targets = apply(views, [target(BOX)] * 3, changes)
    plain, _ = apply(views, [target(BOX)] * 3, [Change(flip=True), UNCHANGED, UNCHANGED])
    assert torch.equal(changed[0], plain[0])
    assert torch.equal(changed[2], plain[2])
    assert not torch.equal(changed[1], plain[1])
    assert targets[1].boxes_xyxy[0] == pytest.approx(BOX)
    inside = changed[1, :, 40:70, 45:55].float().mean()
    outside = changed[1, :, :20].float().mean()
    assert inside > outside + 100


@pytest.mark.parametrize("seed", range(5))
def test_equal_changes_give_equal_pixels(seed):
    change = draw(np.random.default_rng(seed), effects=Effects(1, 1, 1, 1))
    assert min(change.night, change.rain, change.blur, change.jpeg) > 0
    views = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    pair, _ = apply(views, [target(), target()], [change, change])
    alone, _ = apply(views[1:], [target()], [change])
    assert (pair[1:].int() - alone.int()).abs().max() <= 1


def test_effects_occur_with_their_probability():
    effects = Effects(night=0.1, rain=0.2, blur=0.3, jpeg=0.5)
    changes = [draw(np.random.default_rng(i), effects=effects) for i in range(1500)]
    for name in ("night", "rain", "blur", "jpeg"):
        share = np.mean([bool(getattr(change, name)) for change in changes])
        assert share == pytest.approx(getattr(effects, name), abs=0.04)


def test_effects_keep_other_draws():
    plain = draw(np.random.default_rng(3))
    affected = draw(np.random.default_rng(3), effects=Effects(night=1.0))
    assert (plain.window, plain.flip, plain.gains) == (
        affected.window, affected.flip, affected.gains,
    )  # fmt: skip
    assert affected.night > 0 == plain.night


def test_crop_keeps_boxes_inside():
    image = view_with(BOX)[0].permute(1, 2, 0).numpy()
    part, inside = crop(image, target(BOX), (0.4, 0.2, 0.8, 0.9))
    assert part.shape == (70, 40, 3)
    assert inside.boxes_xyxy[0] == pytest.approx([0, 1 / 7, 0.5, 6 / 7], abs=1e-5)
    assert part[11:59, :19].min() == 255
