import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from cascade import taxonomy
from curation.demo import (
    CLASSES,
    DEPLOYMENT,
    HEIGHT,
    PRETRAIN,
    ROADWORK,
    WIDTH,
    drive_scenes,
    scenes,
)
from curation.demo.drive import FRAMES


@pytest.fixture(scope="module")
def drives():
    """All frames of 24 drives, drive by drive."""
    return [list(drive_scenes(5, i, domain=DEPLOYMENT)) for i in range(24)]


def gray(image):
    return image.astype(np.float64).mean(axis=2)


def test_the_words_are_those_of_the_taxonomy():
    roadwork = taxonomy.load("roadwork_core")
    assert roadwork.names == CLASSES
    assert set(roadwork.deciding) == ROADWORK


def test_the_same_seed_gives_the_same_bytes():
    one, other = (list(drive_scenes(3, 7, n_frames=3)) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        assert a.image.tobytes() == b.image.tobytes()
        assert a.boxes_xyxy.tobytes() == b.boxes_xyxy.tobytes()
        assert a.labels == b.labels


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"seed": 4}, id="another seed"),
        pytest.param({"drive_index": 8}, id="another drive"),
        pytest.param({"domain": PRETRAIN}, id="another domain"),
    ],
)
def test_anything_else_gives_another_world(other):
    arguments = {"seed": 3, "drive_index": 7, "domain": DEPLOYMENT, "n_frames": 1}
    (one,) = drive_scenes(**arguments)
    (another,) = drive_scenes(**{**arguments, **other})
    assert np.abs(gray(one.image) - gray(another.image)).mean() > 5


def test_fewer_frames_are_the_first_ones():
    whole = list(drive_scenes(3, 1))
    (first,) = drive_scenes(3, 1, n_frames=1)
    assert FRAMES[0] <= len(whole) <= FRAMES[1]
    assert first.image.tobytes() == whole[0].image.tobytes()


def test_scenes_are_the_drives_in_order():
    frames = [(scene.drive, scene.frame) for scene in scenes(2, 0, PRETRAIN)]
    assert frames == sorted(frames)
    assert {drive for drive, _ in frames} == {"drive0000", "drive0001"}


def test_images_and_boxes_are_well_formed(drives):
    for scene in (scene for drive in drives for scene in drive):
        assert scene.image.shape == (HEIGHT, WIDTH, 3)
        assert scene.image.dtype == np.uint8
        assert scene.image.flags.c_contiguous
        assert scene.boxes_xyxy.shape == (len(scene.labels), 4)
        assert scene.boxes_xyxy.dtype == np.float32
        assert scene.boxes_xyxy.min(initial=0) >= 0
        assert scene.boxes_xyxy.max(initial=0) <= 1
        assert (scene.boxes_xyxy[:, :2] < scene.boxes_xyxy[:, 2:]).all()
        assert set(scene.labels) <= set(CLASSES)


def test_a_drive_has_one_sky_and_its_time_goes_on(drives):
    for drive in drives:
        assert len({(scene.drive, scene.time_of_day, scene.weather) for scene in drive}) == 1
        assert [scene.time_s for scene in drive] == [0.5 * i for i in range(len(drive))]


def test_consecutive_frames_are_near_duplicates_and_other_drives_are_not(drives):
    within = [_likeness(a, b) for drive in drives for a, b in pairwise(drive)]
    between = [_likeness(a[0], b[0]) for a, b in pairwise(drives)]
    assert np.median(within) > 0.95
    assert np.median(between) < 0.75


def _likeness(one, other):
    """Return the correlation of two images at a sixteenth of their size."""
    blocks = [gray(scene.image)[:352].reshape(22, 16, 40, 16) for scene in (one, other)]
    small = [block.mean(axis=(1, 3)).ravel() for block in blocks]
    return np.corrcoef(*small)[0, 1]


@pytest.mark.parametrize("domain", [PRETRAIN, DEPLOYMENT], ids=lambda domain: domain.name)
def test_about_half_of_the_images_show_road_work(domain):
    flags = [[s.has_roadwork for s in drive_scenes(2, i, domain=domain)] for i in range(30)]
    assert 14 <= sum(map(any, flags)) <= 17
    assert 0.38 < np.mean([flag for drive in flags for flag in drive]) < 0.55


def test_some_drive_passes_its_work_zone_or_reaches_it(drives):
    assert any(len({scene.has_roadwork for scene in drive}) == 2 for drive in drives)


def test_some_images_are_orange_without_being_of_road_work(drives):
    orange = [_orange(drive[0].image) for drive in drives if not drive[0].has_roadwork]
    assert sum(share > 1e-4 for share in orange) >= 3


def _orange(image):
    red, green, blue = (image[..., i].astype(int) for i in range(3))
    return ((red > 150) & (red - green > 50) & (green - blue > 15)).mean()


def test_hard_slices_are_there_and_harder(drives):
    scenes_of = {
        time: [scene for drive in drives for scene in drive if scene.time_of_day == time]
        for time in ("day", "night")
    }
    share = len(scenes_of["night"]) / sum(map(len, scenes_of.values()))
    assert 0.15 < share < 0.45
    assert {drive[0].weather for drive in drives} == {"clear", "rain", "glare", "fog"}
    day, night = (
        np.median([gray(scene.image).std() for scene in scenes_of[time]])
        for time in ("day", "night")
    )
    assert night < 0.7 * day


def test_things_are_near_and_far(drives):
    heights = [
        (box[3] - box[1]) * HEIGHT
        for drive in drives
        for scene in drive
        for box, label in zip(scene.boxes_xyxy, scene.labels, strict=True)
        if label in ("cone", "drum")
    ]
    assert np.mean(np.array(heights) < 12) > 0.1
    assert max(heights) > 45


def test_rendering_needs_numpy_and_opencv_only():
    code = "import sys, curation.demo; print(*{name.split('.')[0] for name in sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(out.stdout.split())
    assert {"numpy", "cv2"} <= loaded
    assert not loaded & {"cascade", "fiftyone", "mlflow", "pydantic", "PIL", "scipy", "torch"}
