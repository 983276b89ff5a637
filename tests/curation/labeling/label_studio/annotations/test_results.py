"""Parsing of submitted regions, and round trips of any box and image."""

import json
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy, fold, load
from curation.labeling.label_studio import task_json
from curation.labeling.label_studio.annotations import results
from curation.labeling.protocol import Doubt, Task
from curation.labeling.submissions import Box, build_submission

ROADWORK = load("roadwork")
WIDE = (200, 100)  # an upright image
ORIENTATIONS = range(1, 9)
EXIF_ORIENTATION = 0x0112


def region(kind, value, *labels, size_wh=WIDE, **more):
    key = f"{kind}labels"
    return {
        "id": "r1",
        "type": key,
        "from_name": "any",
        "to_name": "image",
        "origin": "manual",
        "original_width": size_wh[0],
        "original_height": size_wh[1],
        "image_rotation": 0,
        "value": {**value, key: list(labels or ("cone",))},
        **more,
    }


def rect(x, y, width, height, *labels, rotation=0, **more):
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation}
    return region("rectangle", value, *labels, **more)


def boxes_of(*items, size_wh=WIDE, **more):
    content = results.read({"result": list(items)}, taxonomy=ROADWORK, upright_size=size_wh, **more)
    return list(content.boxes)


def sides(box):
    return pytest.approx([box.x1, box.y1, box.x2, box.y2], abs=1e-12)


def single_doubt(*items, **more):
    (doubt,) = boxes_of(*items, **more)
    assert isinstance(doubt, Doubt)
    return doubt


# --- rectangles


def test_rectangle_becomes_relative_corners():
    assert boxes_of(rect(25, 50, 50, 37.5)) == [Box("cone", 0.25, 0.5, 0.75, 0.875)]


def test_rotated_view_changes_nothing():
    assert boxes_of(rect(25, 50, 50, 25, image_rotation=90)) == boxes_of(rect(25, 50, 50, 25))


# Pixels of a rectangle at 100, 20 with width 40 and height 10, rotated around that corner.
ROTATED = [
    pytest.param(90, [(100, 20), (100, 60), (90, 60), (90, 20)], id="a quarter, clockwise"),
    pytest.param(180, [(100, 20), (60, 20), (60, 10), (100, 10)], id="half"),
    pytest.param(270, [(100, 20), (100, -20), (110, -20), (110, 20)], id="three quarters"),
    pytest.param(-90, [(100, 20), (100, -20), (110, -20), (110, 20)], id="counterclockwise"),
    pytest.param(
        math.degrees(math.atan2(3, 4)), [(100, 20), (132, 44), (126, 52), (94, 28)], id="3, 4, 5"
    ),
]


@pytest.mark.parametrize(("rotation", "pixels"), ROTATED)
def test_rotated_rectangle_becomes_enclosing_box_with_outline(rotation, pixels):
    item = rect(50, 20, 20, 10, rotation=rotation)
    annotation = {"result": [item], "was_cancelled": False}
    content = results.read(annotation, taxonomy=ROADWORK, upright_size=WIDE)
    (drawn,) = content.regions
    assert np.array(drawn.outline) == pytest.approx(np.array(pixels) / WIDE)
    xs, ys = zip(*pixels, strict=True)
    (box,) = content.boxes
    assert [min(xs) / 200, min(ys) / 100, max(xs) / 200, max(ys) / 100] == sides(box)


@pytest.mark.parametrize("rotation", [0, 360, None])
def test_upright_rectangle_has_no_outline(rotation):
    content = results.read(
        {"result": [rect(25, 50, 50, 25, rotation=rotation)]}, taxonomy=ROADWORK, upright_size=WIDE
    )
    assert content.regions[0].outline == ()
    assert content.boxes == (Box("cone", 0.25, 0.5, 0.75, 0.75),)


def test_negative_size_is_normalized():
    (box,) = boxes_of(rect(75, 75, -50, -25))
    assert sides(box) == [0.25, 0.5, 0.75, 0.75]


# --- labels


def test_several_labels_give_one_box_per_class():
    boxes = boxes_of(rect(0, 0, 50, 50, "cone", "Traffic Cone", "drum"))
    assert boxes == [Box("cone", 0, 0, 0.5, 0.5), Box("drum", 0, 0, 0.5, 0.5)]


def test_unknown_label_is_doubted_and_known_one_kept():
    box, doubt = boxes_of(rect(0, 0, 50, 50, "cone", "Дракон 🐉"))
    assert box == Box("cone", 0, 0, 0.5, 0.5)
    assert doubt.subject == "Дракон 🐉"
    assert "add it to the synonyms" in doubt.reason


def test_region_without_label_is_a_doubt():
    item = rect(0, 0, 50, 50)
    item["value"].pop("rectanglelabels")
    assert "has no label" in single_doubt(item).reason


def test_name_of_control_does_not_matter():
    assert len(boxes_of(rect(0, 0, 50, 50, from_name="pred"))) == 1


@pytest.mark.parametrize("ordered", [1, -1])
def test_shape_and_label_in_two_results_are_one_region(ordered):
    """The format of <Rectangle> with <Labels>."""
    shape = rect(0, 0, 50, 50, type="rectangle")
    shape["value"].pop("rectanglelabels")
    label = {**shape, "type": "labels", "value": {**shape["value"], "labels": ["cone"]}}
    assert boxes_of(*[shape, label][::ordered]) == [Box("cone", 0, 0, 0.5, 0.5)]


# --- polygons, masks, points


def test_shape_is_derived_from_value():
    """The format of <Polygon> and <Brush> with <Labels>."""
    stroke = mask_region(painted(slice(10, 30), slice(40, 60)))["value"]
    for value in (TRIANGLE, {"rle": stroke["rle"]}):
        item = {"id": "a", "type": "labels", "value": {**value, "labels": ["cone"]}}
        (box,) = boxes_of(item)
        assert isinstance(box, Box)
    circle = {"x": 1, "y": 1, "radiusX": 2, "radiusY": 2, "labels": ["cone"]}
    assert "not supported" in single_doubt({"id": "a", "type": "labels", "value": circle}).reason


TRIANGLE = {"points": [[10, 20], [30, 20], [20, 60]], "closed": True}


def mask_region(mask, *labels, **more):
    encoder = pytest.importorskip("label_studio_sdk.converter.brush")
    rle = encoder.mask2rle(mask.astype(np.uint8) * 255)
    size_wh = (mask.shape[1], mask.shape[0])
    return region("brush", {"format": "rle", "rle": rle}, *labels, size_wh=size_wh, **more)


def painted(rows, columns, shape=(100, 200)):
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


def test_polygon_becomes_enclosing_box_with_outline():
    content = results.read(
        {"result": [region("polygon", TRIANGLE)]}, taxonomy=ROADWORK, upright_size=WIDE
    )
    (box,) = content.boxes
    assert sides(box) == [0.1, 0.2, 0.3, 0.6]
    (drawn,) = content.regions
    assert drawn.outline == ((0.1, 0.2), (0.3, 0.2), (0.2, 0.6))


def test_mask_becomes_enclosing_box():
    mask = painted(slice(10, 30), slice(40, 41))
    content = results.read({"result": [mask_region(mask)]}, taxonomy=ROADWORK, upright_size=WIDE)
    (box,) = content.boxes
    assert sides(box) == [40 / 200, 0.1, 41 / 200, 0.3]
    assert np.array_equal(content.regions[0].mask, mask)


def test_empty_mask_is_a_doubt():
    assert "no position" in single_doubt(mask_region(painted([], []))).reason


def test_outline_of_a_box_is_not_a_second_box():
    box = rect(10, 20, 20, 40)
    for outline in (
        region("polygon", TRIANGLE),
        mask_region(painted(slice(20, 60), slice(20, 60))),
    ):
        assert boxes_of(box, outline) == boxes_of(outline, box) == boxes_of(box)
    elsewhere = rect(60, 20, 20, 40)
    assert len(boxes_of(elsewhere, region("polygon", TRIANGLE))) == 2
    assert len(boxes_of(box, region("polygon", TRIANGLE, "drum"))) == 2


def test_equal_rectangles_stay_two_boxes():
    assert len(boxes_of(rect(10, 20, 20, 40), rect(10, 20, 20, 40))) == 2


def test_point_belongs_to_box_around_it():
    box = rect(10, 20, 20, 40)
    point = region("keypoint", {"x": 15, "y": 25, "width": 1})
    assert boxes_of(point, box) == boxes_of(box)
    assert "A point has a position" in single_doubt(point).reason
    elsewhere = region("keypoint", {"x": 50, "y": 25, "width": 1})
    assert len(boxes_of(box, elsewhere)) == 2
    of_another = region("keypoint", {"x": 15, "y": 25, "width": 1}, "drum")
    assert isinstance(boxes_of(box, of_another)[1], Doubt)


def test_point_is_a_region():
    point = region("keypoint", {"x": 15, "y": 25, "width": 1})
    content = results.read({"result": [point]}, taxonomy=ROADWORK, upright_size=WIDE)
    (drawn,) = content.regions
    assert (drawn.kind, drawn.corners) == ("point", (0.15, 0.25, 0.15, 0.25))


# --- unreadable regions

UNREADABLE = [
    pytest.param(rect(math.nan, 0, 1, 1), "not a finite number", id="NaN"),
    pytest.param(rect(1e999, 0, 1, 1), "not a finite number", id="infinite"),
    pytest.param(rect("left", 0, 1, 1), "Cannot parse", id="a word for a number"),
    pytest.param(region("rectangle", {"x": 1, "y": 1}), "KeyError: 'width'", id="half a rectangle"),
    pytest.param(region("polygon", {"points": []}), "no position", id="a polygon without corners"),
    pytest.param(region("polygon", {"points": [[1, 2, 3]]}), "Cannot parse", id="a corner in 3D"),
    pytest.param(region("polygon", {"points": 5}), "Cannot parse", id="a number for corners"),
    pytest.param(region("brush", {"rle": [1, 2]}), "pixels", id="no strokes"),
    pytest.param(region("brush", {"maskDataURL": "x"}), "KeyError: 'rle'", id="another mask"),
    pytest.param(
        region("ellipse", {"x": 1, "y": 1}), "'ellipselabels' are not supported", id="ellipse"
    ),
    pytest.param(rect(0, 0, 1, 1, original_width="wide"), "Cannot parse", id="a size in words"),
    pytest.param(rect(0, 0, 1, 1, original_width=None), "Cannot parse", id="half a size"),
    pytest.param(rect(0, 0, 1, 1, original_width=0), "0x100", id="no width"),
    pytest.param({"type": "rectanglelabels"}, "has no label", id="nothing at all"),
    pytest.param(
        {"type": "rectanglelabels", "value": "x"}, "has no label", id="a word for a value"
    ),
    pytest.param({"type": "rectangle", "value": {"x": 1}}, "has no label", id="never labeled"),
    pytest.param("cone", "has no label", id="not a result"),
]


@pytest.mark.parametrize(("item", "reason"), UNREADABLE)
def test_unreadable_region_is_doubted_and_others_kept(item, reason):
    first, *others = boxes_of(item, rect(0, 0, 50, 50))
    assert others == [Box("cone", 0, 0, 0.5, 0.5)]
    assert isinstance(first, Doubt)
    assert reason in first.reason


# --- size and orientation of the image


def test_scaled_copy_is_accepted():
    assert boxes_of(rect(0, 0, 50, 50, size_wh=(67, 33))) == [Box("cone", 0, 0, 0.5, 0.5)]


def test_other_aspect_ratio_is_a_doubt():
    doubt = single_doubt(rect(0, 0, 50, 50, size_wh=(100, 100)))
    assert "an image of 100x100, the upright image is 200x100" in doubt.reason


def test_missing_size_is_upright_size():
    item = rect(0, 0, 50, 50)
    item.pop("original_width")
    item.pop("original_height")
    assert boxes_of(item) == [Box("cone", 0, 0, 0.5, 0.5)]


def test_swapped_size_is_a_doubt_unless_orientation_swaps_axes():
    """Upright 200 x 100 from a stored image of 100 x 200 that is shown rotated clockwise."""
    stored = rect(10, 20, 30, 40, size_wh=(100, 200))
    for orientation in (1, 2, 3, 4):
        assert "not rotated upright" in single_doubt(stored, orientation=orientation).reason
    (box,) = boxes_of(stored, orientation=6)
    assert sides(box) == [0.4, 0.1, 0.8, 0.4]  # x: 1 - 0.6 to 1 - 0.2, y: 0.1 to 0.4


def camera_image(orientation, stored_wh, spot):
    """Return the displayed pixels of a stored image with a bright spot."""
    stored = Image.new("L", stored_wh)
    x1, y1, x2, y2 = spot
    for x in range(x1, x2):
        for y in range(y1, y2):
            stored.putpixel((x, y), 255)
    stored.getexif()[EXIF_ORIENTATION] = orientation
    return np.asarray(ImageOps.exif_transpose(stored))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_box_matches_displayed_spot(orientation):
    """Percents of the upright image, as from the browser, and of the stored one."""
    width, height = 40, 30
    spot = (5, 3, 12, 21)
    shown = camera_image(orientation, (width, height), spot)
    upright = (shown.shape[1], shown.shape[0])
    ys, xs = np.nonzero(shown)
    expected = [
        xs.min() / upright[0], ys.min() / upright[1],
        (xs.max() + 1) / upright[0], (ys.max() + 1) / upright[1],
    ]  # fmt: skip
    x1, y1, x2, y2 = (float(side) * 100 for side in expected)
    in_browser = rect(x1, y1, x2 - x1, y2 - y1, size_wh=upright)
    (box,) = boxes_of(in_browser, size_wh=upright, orientation=orientation)
    assert expected == sides(box)
    if upright != (width, height):
        x1, y1, x2, y2 = spot
        by_api = rect(x1 / 0.4, y1 / 0.3, (x2 - x1) / 0.4, (y2 - y1) / 0.3, size_wh=(width, height))
        (box,) = boxes_of(by_api, size_wh=upright, orientation=orientation)
        assert expected == sides(box)
        mask = np.zeros((height, width), bool)
        mask[y1:y2, x1:x2] = True
        (box,) = boxes_of(mask_region(mask), size_wh=upright, orientation=orientation)
        assert expected == sides(box)


# --- answers, skips, predictions


def answer(kind, name, value):
    return {"id": "a", "type": kind, "from_name": name, "to_name": "image", "value": value}


def test_answers_are_not_boxes():
    items = [
        answer("choices", "decision", {"choices": ["yes"]}),
        answer("textarea", "comment", {"text": ["glare", "is it one?"]}),
        answer("choices", "weather", {"choices": ["rain"]}),
        answer("rating", "r", {"rating": 3}),
        {"type": "relation", "from_id": "r1", "to_id": "r2", "direction": "right"},
    ]
    assert boxes_of(*items) == []
    content = results.read({"result": items}, taxonomy=ROADWORK, upright_size=WIDE)
    assert (content.decision, content.comment) == ("yes", "glare\nis it one?")
    assert (content.boxes, content.regions) == ((), ())


def test_empty_submission_means_nothing_there():
    content = results.read(
        {"result": [], "was_cancelled": False}, taxonomy=ROADWORK, upright_size=WIDE
    )
    assert (content.boxes, content.decision, content.comment) == ((), None, "")


@pytest.mark.parametrize(
    "annotation",
    [
        pytest.param({"result": [], "was_cancelled": True}, id="skipped"),
        pytest.param({"result": [rect(0, 0, 9, 9)], "was_cancelled": True}, id="skipped, drawn on"),
        pytest.param({"result": None, "was_cancelled": False}, id="never finished"),
        pytest.param({"was_cancelled": False}, id="without a result"),
    ],
)
def test_skipped_or_unfinished_annotation_is_none(annotation):
    assert results.read(annotation, taxonomy=ROADWORK, upright_size=WIDE) is None


def test_prediction_is_read_only_if_submitted():
    item = rect(0, 0, 50, 50, origin="prediction", score=0.9)
    untouched = {"id": 1, "annotations": [], "predictions": [{"result": [item]}]}
    contents = [
        results.read(row, taxonomy=ROADWORK, upright_size=WIDE) for row in untouched["annotations"]
    ]
    assert contents == []
    accepted = results.read(
        {"result": [item], "was_cancelled": False}, taxonomy=ROADWORK, upright_size=WIDE
    )
    assert accepted.boxes == (Box("cone", 0, 0, 0.5, 0.5),)


# --- round trips

names = st.lists(
    st.text(
        st.characters(categories=["L", "N", "S"], exclude_characters="$"), min_size=1, max_size=8
    ),
    min_size=1,
    max_size=5,
    unique_by=fold,
)
float32 = st.integers(0, 2**24).map(lambda k: k / 2**24)
corners = st.tuples(float32, float32, float32, float32).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)
side = st.integers(1, 10_000)


def taxonomy_of(labels):
    return Taxonomy.model_validate({
        "name": "any",
        "decision": {"name": "any", "question": "?"},
        "classes": [{"name": label, "decides": True} for label in labels],
    })  # fmt: skip


@given(names, st.lists(corners, max_size=6), side, side, st.sampled_from(ORIENTATIONS))
@example(["錐 🚧"], [(0.0, 0.0, 2**-24, 1.0), (1.0, 1.0, 1.0, 1.0)], 1, 10_000, 6)
def test_any_box_survives_round_trip(labels, rows, stored_width, stored_height, orientation):
    taxonomy = taxonomy_of(labels)
    sizes = (stored_width, stored_height)
    upright = sizes[::-1] if orientation >= 5 else sizes
    sent = Detections(
        boxes_xyxy=np.array(rows, np.float32).reshape(-1, 4),
        scores=np.full(len(rows), 0.5, np.float32),
        class_ids=np.arange(len(rows)) % len(labels),
        classes=taxonomy.names,
    )
    task = Task("id1", "/a.jpg", *upright, 1, 1, "hard", None, "", sent)
    pushed = task_json.to_task(task, key="k", image_url="u", model_version="v", taxonomy=taxonomy)
    over_the_wire = json.loads(json.dumps(pushed))
    result = over_the_wire["predictions"][0]["result"] if rows else []
    for item, (x1, y1, _, _) in zip(result, sent.boxes_xyxy.tolist(), strict=True):
        in_pixels = item["value"]["x"] / 100 * item["original_width"]  # as any reader computes it
        assert in_pixels == pytest.approx(x1 * upright[0], abs=1e-9 * upright[0])
        assert item["value"]["y"] == pytest.approx(y1 * 100, abs=1e-9)
    drawn = results.read(
        {"result": result}, taxonomy=taxonomy, upright_size=upright, orientation=orientation
    ).boxes
    back = build_submission(drawn, taxonomy=taxonomy)
    assert back.doubts == ()
    assert back.boxes.labels == sent.labels
    assert np.abs(back.boxes.boxes_xyxy - sent.boxes_xyxy).max(initial=0) <= 1e-12


@given(st.lists(corners, min_size=1, max_size=4), st.integers(1, 1000))
def test_repeated_round_trips_do_not_drift(rows, rounds):
    box = Detections(
        boxes_xyxy=np.array(rows, np.float64),
        scores=np.ones(len(rows), np.float32),
        class_ids=np.zeros(len(rows), np.int64),
        classes=ROADWORK.names,
    )
    for _ in range(min(rounds, 20)):
        task = Task("id1", "/a.jpg", 1279, 721, 1, 1, "hard", None, "", box)
        pushed = task_json.to_task(
            task, key="k", image_url="u", model_version="v", taxonomy=ROADWORK
        )
        result = pushed["predictions"][0]["result"]
        annotation = {"result": result}
        drawn = results.read(annotation, taxonomy=ROADWORK, upright_size=(1279, 721)).boxes
        box = build_submission(drawn, taxonomy=ROADWORK).boxes
    assert np.abs(box.boxes_xyxy - np.array(rows)).max() <= 1e-12
