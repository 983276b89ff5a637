"""Operations that read the ensemble's outputs."""

import pytest
from adjudication_cases import CAR, CONE, LEFT, case, detections

from cascade.adjudication import crops, tool_handlers
from cascade.adjudication.tools import CompareSizes, CountVotes, ListBoxes, Look
from cascade.adjudication.view import View

VIEW = View.from_case(case())


def list_boxes(view=VIEW, **filters):
    return tool_handlers.answer(ListBoxes(op="list_boxes", **filters), view)


def ids(**filters):
    return [box["id"] for box in list_boxes(**filters)["boxes"]]


def test_votes_separate_silent_members_from_incompetent_ones():
    assert tool_handlers.answer(CountVotes(op="count_votes", class_="cone"), VIEW) == {
        "class": "cone",
        "seen_by": {"yolo": 0.8},
        "not_seen_by": ["detr"],
        "cannot_name_it": ["coco"],
        "consensus_p": 0.6,
        "outlined_by_a_segmenter": True,
        "named_by": ["vlm"],
    }


def test_votes_on_unseen_class():
    votes = tool_handlers.answer(CountVotes(op="count_votes", class_="drum"), VIEW)
    assert votes["seen_by"] == {}
    assert votes["not_seen_by"] == ["yolo", "detr"]
    assert votes["consensus_p"] is None
    assert votes["outlined_by_a_segmenter"] is False
    assert votes["named_by"] == []


def test_class_is_resolved_by_synonym():
    votes = tool_handlers.answer(CountVotes(op="count_votes", class_="Traffic-Cone"), VIEW)
    assert votes["class"] == "cone"


def test_boxes_are_listed_objects_first_by_probability():
    assert list_boxes()["boxes"][0] == {
        "id": "o1",
        "by": "consensus",
        "class": "cone",
        "p": 0.6,
        "box": [0.1, 0.4, 0.2, 0.6],
    }
    assert ids() == ["o1", "o2", "b1", "b2", "b3", "b4"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param({"class_": "cone"}, ["o1", "b1"], id="of a class"),
        pytest.param({"member": "yolo"}, ["b1", "b2"], id="of a member"),
        pytest.param({"member": "consensus"}, ["o1", "o2"], id="of the consensus"),
        pytest.param({"region": (0.0, 0.3, 0.5, 0.7)}, ["o1", "b1"], id="in a region"),
        pytest.param({"at_least_p": 0.6}, ["o1", "b1", "b3"], id="above a probability"),
        pytest.param({"class_": "car", "member": "yolo"}, ["b2"], id="of a class and a member"),
        pytest.param({"class_": "drum"}, [], id="none"),
    ],
)
def test_boxes_are_filtered(filters, expected):
    assert ids(**filters) == expected
    assert list_boxes(**filters)["total"] == len(expected)


def test_many_boxes_are_paged():
    crowd = detections(*[(LEFT, 0.9 - i / 100, CONE) for i in range(30)])
    view = View.from_case(case(detections={"yolo": crowd}, objects=detections(), sizes=None))
    pages = [list_boxes(view, page=n) for n in (1, 2, 3)]
    assert [page["pages"] for page in pages] == [3, 3, 3]
    assert [len(page["boxes"]) for page in pages] == [12, 12, 6]
    assert [box["id"] for page in pages for box in page["boxes"]] == [f"b{n}" for n in range(1, 31)]


def test_sizes_include_usual_sizes_of_class():
    query = CompareSizes(op="compare_sizes", boxes=("o1", "o2", "b1"))
    cone, car, member = tool_handlers.answer(query, VIEW)["sizes"]
    assert cone == {
        "id": "o1",
        "class": "cone",
        "distance_m": 10.0,
        "height_m": 3.0,
        "width_m": 0.5,
        "plausible": False,
        "usual_height_m": (0.3, 1.1),
        "usual_width_m": None,
    }
    assert car["unknown"] == "no depth is known"
    assert member["unknown"] == "only consensus boxes have sizes"


def test_look_region_of_box_includes_surroundings():
    region = tool_handlers.look_region(Look(op="look", question="?", box="o1"), VIEW)
    assert region == pytest.approx((0.07, 0.34, 0.23, 0.66))


def test_look_region_of_region_is_unchanged():
    look = Look(op="look", question="?", region=(0.1, 0.2, 0.3, 0.4))
    assert tool_handlers.look_region(look, VIEW) == (0.1, 0.2, 0.3, 0.4)


def test_empty_case_lists_nothing():
    empty = View.from_case(
        case(detections={}, objects=detections(), sizes=None, answers={}, masked=())
    )
    assert list_boxes(empty) == {"total": 0, "page": 1, "pages": 1, "boxes": []}
    votes = tool_handlers.answer(CountVotes(op="count_votes", class_="cone"), empty)
    assert votes["seen_by"] == {}
    assert votes["not_seen_by"] == []


def test_boxes_of_region_keep_names():
    part = VIEW.within((0.5, 0.0, 1.0, 1.0), "?")
    assert [box["id"] for box in list_boxes(part)["boxes"]] == ["o2", "b2", "b3"]
    assert tool_handlers.find_box("o2", part).xyxy == pytest.approx((0.4, 0.4, 0.6, 0.6))
    assert tool_handlers.find_box("o2", part).label == VIEW.taxonomy.names[CAR]


def test_region_contains_box_with_center_inside():
    assert crops.contains_center((0.0, 0.0, 0.5, 0.5), (0.4, 0.4, 0.6, 0.6))
    assert not crops.contains_center((0.0, 0.0, 0.5, 0.5), (0.41, 0.4, 0.61, 0.6))
