import numpy as np
import pytest

from curation.demo import CLASSES, HEIGHT, ROADWORK, WIDTH
from curation.demo.camera import FOCAL_PX, Camera
from curation.demo.catalogue import KINDS
from curation.demo.conditions import Conditions
from curation.demo.frame import boxes, populate
from curation.demo.thing import Thing

DAY = Conditions(
    time_of_day="day", weather="clear", ambient=(1.0, 1.0, 1.0), headlight=0.0,
    visibility_m=1e6, haze=(200, 200, 200), sunny=False, sun=0.0, wet=0.0, noise=0.0,
    blur_px=1, jpeg=0, gain=(1.0, 1.0, 1.0),
)  # fmt: skip
ORANGE, WHITE = (244, 98, 24), (246, 246, 240)
SIZES = {
    "cone": (0.36, 0.7, 0.0),
    "drum": (0.55, 1.0, 0.0),
    "diamond_sign": (1.2, 1.2, 0.0),
    "board_sign": (1.2, 0.8, 0.0),
    "truck": (2.4, 3.2, 7.0),
}


def thing(kind="cone", x=0.0, z=15.0, **changes):
    width, height, length = SIZES.get(kind, (0.8, 1.0, 0.0))
    body = (90, 120, 200) if kind == "truck" else ORANGE
    values = {"base": 0.0, "speed": 0.0, "dna": (0.7, 0.6, 0.6, 0.6, 0.1, 0.3), **changes}
    return Thing(kind, x, z, width, height, length, body, WHITE, **values)


def seen(*things, conditions=DAY):
    """Return the image, the corners in pixels and the labels of things on a gray field."""
    field = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    frame = populate(field, things, Camera(), conditions, 0.0, 0.0)
    corners, labels = boxes(frame, conditions.noise)
    return frame.image, corners * [WIDTH, HEIGHT, WIDTH, HEIGHT], labels


def changed(image):
    """Return the corners around pixels that have left gray, which a shadow does not do."""
    away = image.astype(int) - image.astype(int).mean(axis=2, keepdims=True)
    rows, columns = np.nonzero(np.abs(away).max(axis=2) > 14)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("kind", ["cone", "diamond_sign"])
@pytest.mark.parametrize("z", [6.0, 12.3, 25.0, 40.0])
@pytest.mark.parametrize("x", [-2.0, 0.37, 1.9])
def test_a_box_fits_what_was_drawn(kind, z, x):
    image, corners, labels = seen(thing(kind, x, z, base=0.0 if kind == "cone" else 0.4))
    assert len(labels) == 1
    assert corners[0] == pytest.approx(changed(image), abs=1.5)


def test_a_box_has_the_size_that_its_distance_gives():
    _, corners, _ = seen(thing("drum", z=14.0))
    x0, y0, x1, y1 = corners[0]
    assert y1 - y0 == pytest.approx(1.0 * FOCAL_PX / 14, abs=2)  # 1 m high
    assert x1 - x0 == pytest.approx(0.55 * FOCAL_PX / 14, abs=2)  # 0.55 m wide
    assert (x0 + x1) / 2 == pytest.approx(WIDTH / 2, abs=1)


def test_what_leaves_the_image_has_its_box_cut_off_there():
    edge = 6.0 * (WIDTH / 2) / FOCAL_PX  # where x meets the right side at 6 m
    _, corners, labels = seen(thing("drum", x=edge, z=6.0))
    assert labels == ("drum",)
    assert corners[0][2] == WIDTH


GONE = [
    pytest.param([thing("drum", x=4.0, z=6.0)], [], id="outside the image"),
    pytest.param([thing("drum", x=3.62, z=6.0)], [], id="less than a quarter inside"),
    pytest.param([thing("cone", z=80.0)], [], id="too small"),
    pytest.param([thing("cone", z=3.0)], [], id="under the bonnet"),
    pytest.param([thing("cone", z=-5.0)], [], id="behind us"),
    pytest.param([thing("cone", z=40.0), thing("truck", z=10.0)], ["vehicle"], id="hidden"),
    pytest.param(
        [thing("truck", z=20.0), thing("cone", z=10.0)], ["vehicle", "cone"], id="in front"
    ),
    pytest.param([thing("bag", z=10.0)], [], id="a bag has no box"),
    pytest.param([thing("pedestrian", z=10.0)], [], id="neither has somebody without a vest"),
    pytest.param([thing("warning_sign", z=10.0)], [], id="nor an ordinary sign"),
]


@pytest.mark.parametrize(("things", "expected"), GONE)
def test_what_cannot_be_seen_or_means_nothing_has_no_box(things, expected):
    assert list(seen(*things)[2]) == expected


def test_a_box_is_cut_to_what_others_leave_to_be_seen():
    behind, before = thing("truck", x=0.0, z=30.0), thing("truck", x=-1.2, z=12.0)
    _, alone, _ = seen(behind)
    _, both, labels = seen(behind, before)
    assert labels == ("vehicle", "vehicle")
    assert both[0][0] == pytest.approx(both[1][2], abs=1.5)  # begins where the nearer one ends
    assert both[0][2] == pytest.approx(alone[0][2], abs=1e-3)


def test_what_fog_swallows_has_no_box():
    fog = Conditions(**{**vars(DAY), "visibility_m": 4.0, "haze": (120, 120, 120)})
    assert seen(thing("drum", z=25.0))[2] == ("drum",)
    assert seen(thing("drum", z=25.0), conditions=fog)[2] == ()


def test_what_drowns_in_noise_has_no_box():
    dusk = {**vars(DAY), "ambient": (0.55, 0.6, 0.6)}
    dim = thing("truck", z=40.0, dna=(0.7, 0.9, 0.6, 0.6, 0.1, 0.3))
    calm, noisy = (Conditions(**{**dusk, "noise": noise}) for noise in (0.0, 200.0))
    assert seen(dim, conditions=calm)[2] == ("vehicle",)
    assert seen(dim, conditions=noisy)[2] == ()


def test_reflective_bands_outshine_the_rest_in_the_headlights():
    night = Conditions(
        **{**vars(DAY), "time_of_day": "night", "ambient": (0.1, 0.1, 0.1), "headlight": 0.8}
    )
    image, corners, _ = seen(thing("drum", z=30.0), conditions=night)
    x0, y0, x1, y1 = corners[0].astype(int)
    column = image[y0:y1, (x0 + x1) // 2].mean(axis=1)
    assert column.max() > 3 * np.median(column[column < column.max() / 2])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_is_drawn_near_and_far(kind):
    assert KINDS[kind].label in {None, *CLASSES}
    for z in (5.0, 20.0, 70.0):
        image, _, _ = seen(thing(kind, x=1.0, z=z, base=0.3))
        assert (image != 120).any()


def test_every_class_can_be_drawn():
    assert {kind.label for kind in KINDS.values()} - {None} == ROADWORK | {"vehicle"}
