"""What the root is told when it asks for the ensemble's outputs."""

import pytest
from adjudication_cases import CAR, CONE, LEFT, case, found

from cascade.adjudication import crops, tool_handlers
from cascade.adjudication.tools import CompareSizes, CountVotes, ListBoxes, Look
from cascade.adjudication.view import View

VIEW = View.of(case())


def listed(view=VIEW, **given):
    return tool_handlers.answer(ListBoxes(op="list_boxes", **given), view)


def ids(**given):
    return [one["id"] for one in listed(**given)["boxes"]]


def test_a_vote_tells_silence_from_not_being_able_to_name():
    assert tool_handlers.answer(CountVotes(op="count_votes", class_="cone"), VIEW) == {
        "class": "cone",
        "seen_by": {"yolo": 0.8},
        "not_seen_by": ["detr"],
        "cannot_name_it": ["coco"],
        "consensus_p": 0.6,
        "outlined_by_a_segmenter": True,
        "named_by": ["vlm"],
    }


def test_a_class_that_nobody_sees():
    votes = tool_handlers.answer(CountVotes(op="count_votes", class_="drum"), VIEW)
    assert votes["seen_by"] == {}
    assert votes["not_seen_by"] == ["yolo", "detr"]
    assert votes["consensus_p"] is None
    assert votes["outlined_by_a_segmenter"] is False
    assert votes["named_by"] == []


def test_a_class_may_be_asked_for_by_a_synonym():
    votes = tool_handlers.answer(CountVotes(op="count_votes", class_="Traffic-Cone"), VIEW)
    assert votes["class"] == "cone"


def test_boxes_are_listed_objects_first_and_surest_first():
    assert listed()["boxes"][0] == {
        "id": "o1",
        "by": "consensus",
        "class": "cone",
        "p": 0.6,
        "box": [0.1, 0.4, 0.2, 0.6],
    }
    assert ids() == ["o1", "o2", "b1", "b2", "b3", "b4"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"class_": "cone"}, ["o1", "b1"], id="of a class"),
        pytest.param({"member": "yolo"}, ["b1", "b2"], id="of a member"),
        pytest.param({"member": "consensus"}, ["o1", "o2"], id="of the consensus"),
        pytest.param({"region": (0.0, 0.3, 0.5, 0.7)}, ["o1", "b1"], id="in a region"),
        pytest.param({"at_least_p": 0.6}, ["o1", "b1", "b3"], id="above a probability"),
        pytest.param({"class_": "car", "member": "yolo"}, ["b2"], id="of both"),
        pytest.param({"class_": "drum"}, [], id="none"),
    ],
)
def test_boxes_can_be_asked_for(given, expected):
    assert ids(**given) == expected
    assert listed(**given)["total"] == len(expected)


def test_many_boxes_come_in_pages():
    crowd = found(*[(LEFT, 0.9 - i / 100, CONE) for i in range(30)])
    view = View.of(case(detections={"yolo": crowd}, objects=found(), sizes=None))
    pages = [listed(view, page=n) for n in (1, 2, 3)]
    assert [one["pages"] for one in pages] == [3, 3, 3]
    assert [len(one["boxes"]) for one in pages] == [12, 12, 6]
    assert [b["id"] for one in pages for b in one["boxes"]] == [f"b{n}" for n in range(1, 31)]


def test_sizes_stand_beside_what_their_class_comes_in():
    asked = CompareSizes(op="compare_sizes", boxes=("o1", "o2", "b1"))
    cone, car, member = tool_handlers.answer(asked, VIEW)["sizes"]
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


def test_a_look_at_a_box_shows_what_is_around_it():
    place = tool_handlers.place(Look(op="look", question="?", box="o1"), VIEW)
    assert place == pytest.approx((0.07, 0.34, 0.23, 0.66))


def test_a_look_at_a_region_shows_the_region():
    asked = Look(op="look", question="?", region=(0.1, 0.2, 0.3, 0.4))
    assert tool_handlers.place(asked, VIEW) == (0.1, 0.2, 0.3, 0.4)


def test_an_empty_case_has_nothing_to_list():
    nothing = View.of(case(detections={}, objects=found(), sizes=None, answers={}, masked=()))
    assert listed(nothing) == {"total": 0, "page": 1, "pages": 1, "boxes": []}
    votes = tool_handlers.answer(CountVotes(op="count_votes", class_="cone"), nothing)
    assert votes["seen_by"] == {}
    assert votes["not_seen_by"] == []


def test_boxes_of_a_crop_are_found_under_their_names():
    part = VIEW.within((0.5, 0.0, 1.0, 1.0), "?")
    assert [one["id"] for one in listed(part)["boxes"]] == ["o2", "b2", "b3"]
    assert tool_handlers.box_named("o2", part).xyxy == pytest.approx((0.4, 0.4, 0.6, 0.6))
    assert tool_handlers.box_named("o2", part).label == VIEW.taxonomy.names[CAR]


def test_a_region_holds_what_has_its_centre_in_it():
    assert crops.holds((0.0, 0.0, 0.5, 0.5), (0.4, 0.4, 0.6, 0.6))
    assert not crops.holds((0.0, 0.0, 0.5, 0.5), (0.41, 0.4, 0.61, 0.6))
