"""Plausibility of sizes in rendered scenes with known true sizes.

Drives past cones, drums, workers, cars and trucks, with some "cones" of 3 m. Each drive has a
camera with an unknown focal length. The depth has one of three kinds of errors of 20 %, and box
edges an error of one pixel. The estimators get only boxes, labels and depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from cascade import taxonomy
from cascade.geometry.focal_length import DEFAULT_FOCAL, Focal, estimate
from cascade.geometry.sizes import distances_m, object_sizes
from cascade.predictions import DepthMap

ROADWORK = taxonomy.load("roadwork")
SIZE_PX = (720, 1280)
HORIZON_PX = 340.0
CAMERA_M = 1.4  # over the road
CELL_PX = 4  # of the depth map, in image pixels: coarser than depth networks
NOISE = 0.2
DRIVES, FRAMES = 25, 22
MIN_VISIBLE = 0.5  # visible share of an object with a box
MIN_HEIGHT_PX = 10.0
FAKE = "a cone of 3 m"

KINDS = {  # mean number per frame; label, height and width in meters from a random generator
    "cone": (6, "cone", lambda rng, tall=None: _cone(rng, rng.uniform(0.30, 1.10))),
    FAKE: (2, "cone", lambda rng: _cone(rng, 3.0, scale=3.0)),
    "drum": (1, "drum", lambda rng: (rng.uniform(0.90, 1.10), rng.uniform(0.47, 0.62))),
    "worker": (1, "worker", lambda rng: (rng.normal(1.75, 0.08), rng.uniform(0.4, 0.7))),
    "car": (1, "vehicle", lambda rng: (rng.uniform(1.4, 1.8), rng.uniform(1.7, 2.0))),
    "lorry": (0.3, "vehicle", lambda rng: (rng.uniform(2.5, 4.0), rng.uniform(2.2, 2.6))),
}


def _cone(rng, height, scale=1.0):
    """Return the height, and the width of a cone of that height."""
    return height, scale * float(np.clip(height / scale * rng.uniform(0.4, 0.6), 0.20, 0.45))


@dataclass(frozen=True)
class Frame:
    """A rendered frame: true boxes, kinds and sizes, and the depth of every pixel."""

    boxes_xyxy: np.ndarray
    kinds: np.ndarray
    meters: np.ndarray  # height, width, distance: (K, 3)
    depth: np.ndarray
    owner: np.ndarray  # object of each pixel of the map, -1 for none
    visible: np.ndarray  # visible share of each object: (K,)


def render(rng, focal_px, kinds=KINDS, cell_px=CELL_PX):
    """Render random objects on a flat road with a pinhole camera."""
    high, wide = SIZE_PX[0] // cell_px, SIZE_PX[1] // cell_px
    v, u = (np.mgrid[:high, :wide] + 0.5) * cell_px
    with np.errstate(divide="ignore"):
        depth = np.where(v > HORIZON_PX, CAMERA_M * focal_px / (v - HORIZON_PX), np.nan)
    owner = np.full(depth.shape, -1)
    nearest = max(
        4.0, CAMERA_M * focal_px / (SIZE_PX[0] - HORIZON_PX - 20)
    )  # foot inside the image
    drawn = [
        (name, *make(rng), float(np.exp(rng.uniform(np.log(nearest), np.log(40.0)))))
        for name, (mean, _, make) in kinds.items()
        for _ in range(rng.poisson(mean))
    ]
    drawn.sort(key=lambda item: -item[3])  # far objects first
    corners, opaque = [], []
    for k, (name, height, width, z) in enumerate(drawn):
        x = rng.uniform(0.05, 0.95) * SIZE_PX[1]
        scale = focal_px / z
        foot = HORIZON_PX + CAMERA_M * scale
        x1, y1, x2, y2 = x - width * scale / 2, foot - height * scale, x + width * scale / 2, foot
        inside = (v >= y1) & (v < y2) & (abs(u - x) < width * scale / 2)
        if kinds[name][1] == "cone":  # tapers to a quarter of its base
            inside &= abs(u - x) < width * scale / 2 * (0.25 + 0.75 * (v - y1) / (y2 - y1))
        depth[inside], owner[inside] = z, k
        corners.append((x1, y1, x2, y2))
        opaque.append(inside.sum())
    pixels = np.bincount(owner[owner >= 0], minlength=len(drawn))
    boxes = np.array(corners).reshape(-1, 4)
    visible = pixels / np.maximum(opaque, 1)
    has_box = (visible >= MIN_VISIBLE) & (boxes[:, 3] - boxes[:, 1] >= MIN_HEIGHT_PX)
    meters = np.array([item[1:] for item in drawn]).reshape(-1, 3)
    names = np.array([item[0] for item in drawn], object)
    return Frame(boxes[has_box], names[has_box], meters[has_box], depth, owner, visible[has_box])


def pixel_noise(rng, frame):
    return 1 + NOISE * rng.standard_normal(frame.depth.shape)


def object_noise(rng, frame):
    return (1 + NOISE * rng.standard_normal(frame.owner.max() + 2))[frame.owner]


def image_noise(rng, frame):
    return 1 + NOISE * rng.standard_normal()


NOISES = (pixel_noise, object_noise, image_noise)


@dataclass(frozen=True)
class Drive:
    """The data of one drive, with the true kinds and focal length."""

    boxes_xyxy: np.ndarray
    kinds: np.ndarray
    labels: list
    distance_m: np.ndarray
    images: np.ndarray
    focal_px: float


def drives(noises, *, kinds=KINDS, n=DRIVES, frames=FRAMES):
    """Return drives by noise: the same scenes with different errors."""
    by_noise = {noise.__name__: [] for noise in noises}
    for seed in range(n):
        rng = np.random.default_rng([7, seed])
        focal_px = float(np.exp(rng.uniform(np.log(500), np.log(1500))))
        frames_ = [render(rng, focal_px, kinds) for _ in range(frames)]
        boxes = [
            relative(frame.boxes_xyxy + rng.standard_normal(frame.boxes_xyxy.shape))
            for frame in frames_
        ]
        names = np.concatenate([frame.kinds for frame in frames_])
        for noise in noises:
            by_noise[noise.__name__].append(
                Drive(
                    boxes_xyxy=np.concatenate(boxes),
                    kinds=names,
                    labels=[kinds[name][1] for name in names],
                    distance_m=np.concatenate(
                        [measured(rng, *pair, noise) for pair in zip(frames_, boxes, strict=True)]
                    ),
                    images=np.repeat(np.arange(frames), [len(frame.kinds) for frame in frames_]),
                    focal_px=focal_px,
                )
            )
    return by_noise


def measured(rng, frame, boxes, noise):
    factor = np.maximum(noise(rng, frame), 0.05)  # depth stays in front of the camera
    return distances_m(DepthMap(depth=(frame.depth * factor), unit="metres"), boxes)


def relative(boxes_px):
    """Return relative corners, clipped to the image."""
    return np.clip(boxes_px / np.array(SIZE_PX)[[1, 0, 1, 0]], 0, 1)


def estimated(drive):
    return estimate(
        drive.boxes_xyxy,
        drive.labels,
        drive.distance_m,
        drive.images,
        size_px=SIZE_PX,
        taxonomy=ROADWORK,
    )


def judged(drive, focal):
    return object_sizes(
        drive.boxes_xyxy,
        drive.labels,
        drive.distance_m,
        size_px=SIZE_PX,
        focal_px=focal.px(SIZE_PX),
        focal_tolerance=focal.tolerance,
        taxonomy=ROADWORK,
    )


def shares(drives_, focals):
    """Return the numbers of true and fake cones, and the misjudged share of each."""
    kinds = np.concatenate([drive.kinds for drive in drives_])
    plausible = np.concatenate(
        [judged(drive, focal).plausible for drive, focal in zip(drives_, focals, strict=True)]
    )
    true, fake = plausible[kinds == "cone"], plausible[kinds == FAKE]
    return len(true), len(fake), 1 - true.mean(), fake.mean()


def test_sizes_without_noise_are_within_2_percent():
    """Fully visible objects only; an occluder changes the distance of an object."""
    rng = np.random.default_rng(3)
    compared = 0
    for focal_px in (500.0, 900.0, 1500.0):
        for frame in [render(rng, focal_px, cell_px=1) for _ in range(8)]:
            boxes = relative(frame.boxes_xyxy)
            sizes = object_sizes(
                boxes,
                ["cone"] * len(boxes),
                distances_m(DepthMap(depth=frame.depth, unit="metres"), boxes),
                size_px=SIZE_PX,
                focal_px=focal_px,
                focal_tolerance=0.0,
                taxonomy=ROADWORK,
            )
            unoccluded = (frame.visible > 0.95) & (boxes > 0).all(axis=1) & (boxes < 1).all(axis=1)
            measured_m = np.stack([sizes.height_m, sizes.width_m, sizes.distance_m], axis=1)
            assert measured_m[unoccluded] == pytest.approx(frame.meters[unoccluded], rel=0.02)
            compared += int(unoccluded.sum())
    assert compared > 150


@pytest.fixture(scope="module")
def noisy_drives():
    return drives(NOISES)


@pytest.mark.parametrize("noise", NOISES)
def test_cones_of_3_m_are_flagged_and_true_cones_are_not(noisy_drives, noise, record_property):
    """With depth errors of 20 %, and a focal length estimated from the drive."""
    drives_ = noisy_drives[noise.__name__]
    n_true, n_fake, flagged, unflagged = shares(drives_, [estimated(drive) for drive in drives_])
    record_property("share of true cones flagged", float(flagged))
    record_property("share of 3 m cones not flagged", float(unflagged))
    assert n_true >= 2000
    assert n_fake >= 500
    assert flagged <= 0.05
    assert unflagged <= 0.05


@pytest.mark.parametrize("noise", NOISES)
def test_focal_length_is_within_its_tolerance(noisy_drives, noise):
    """Unknown between 500 and 1500 px, which is a factor of 3."""
    drives_ = noisy_drives[noise.__name__]
    focals = [estimated(drive) for drive in drives_]
    truth = np.array([drive.focal_px for drive in drives_])
    wrong = np.abs(np.log([focal.px(SIZE_PX) for focal in focals] / truth))
    assert truth.max() > 2 * truth.min()
    assert (wrong < 2 * np.array([focal.tolerance for focal in focals])).mean() >= 0.95
    assert wrong.max() < 0.25


def test_flagged_boxes_keep_their_sizes(noisy_drives):
    """A cone of 3 m is flagged, and its box and size are kept."""
    drive = noisy_drives["pixel_noise"][0]
    sizes = judged(drive, Focal(drive.focal_px / max(SIZE_PX), tolerance=0.0, objects=0))
    assert len(sizes.plausible) == len(sizes.height_m) == len(drive.boxes_xyxy)
    fake = drive.kinds == FAKE
    assert not sizes.plausible[fake].any()
    assert np.median(sizes.height_m[fake]) == pytest.approx(3.0, rel=0.1)


def test_default_focal_length_misses_some_cones_of_3_m(noisy_drives):
    """Limit of the method: without objects of known size, true cones are still not flagged.

    Up to a quarter of the cones of 3 m pass: with a focal length 40 % above the default they
    measure 2.1 m, and errors of 20 % do the rest.
    """
    drives_ = noisy_drives["object_noise"]
    _, _, flagged, unflagged = shares(drives_, [DEFAULT_FOCAL] * len(drives_))
    assert flagged <= 0.05
    assert 0.05 < unflagged < 0.25


def test_drive_of_cones_only_is_hardly_better():
    """A quarter are fake; the range of a cone is too wide to estimate the focal length."""
    cones = {name: KINDS[name] for name in ("cone", FAKE)}
    drives_ = drives([object_noise], kinds=cones)["object_noise"]
    _, _, flagged, unflagged = shares(drives_, [estimated(drive) for drive in drives_])
    assert flagged <= 0.05
    assert 0.05 < unflagged < 0.25


def test_few_workers_suffice():
    """One worker in every other frame, otherwise cones only."""
    kinds = {name: KINDS[name] for name in ("cone", FAKE)} | {"worker": (0.5, *KINDS["worker"][1:])}
    drives_ = drives([object_noise], kinds=kinds)["object_noise"]
    _, _, flagged, unflagged = shares(drives_, [estimated(drive) for drive in drives_])
    assert flagged <= 0.05
    assert unflagged <= 0.05
