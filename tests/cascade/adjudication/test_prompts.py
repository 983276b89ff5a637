"""Messages to the planner."""

import json

from adjudication_cases import CAR, CONE, LEFT, TAXONOMY, case, detections

from cascade import taxonomy
from cascade.adjudication import prompts
from cascade.adjudication.tools import Operation
from cascade.adjudication.view import View
from cascade.predictions import Answer


def test_summary_describes_view():
    assert prompts.summarize(View.from_case(case())) == {
        "question": "Is there road work?",
        "deciding_classes": ["cone", "drum"],
        "ensemble": {"p_yes": 0.4, "agreement": 0.5},
        "consensus_objects": {
            "cone": {"count": 1, "best_p": 0.6},
            "car": {"count": 1, "best_p": 0.3},
        },
        "boxes_by_member": {"yolo": 2, "detr": 1, "coco": 1},
        "outlined_by_segmenters": ["cone"],
        "language_models": {
            "vlm": {"p_yes": 0.7, "reason": "A cone.", "objects": ["traffic cone"]}
        },
        "image_can_be_looked_at": True,
    }


def test_summary_stays_short_for_many_boxes():
    crowd = detections(*[(LEFT, 0.5, i % 2 * CAR) for i in range(3000)])
    chatty = Answer(p_yes=0.5, reason="word " * 500, objects=("cone " * 50,) * 50)
    view = View.from_case(
        case(
            taxonomy=taxonomy.load("roadwork"),
            detections={f"member_{i}": crowd for i in range(26)},
            objects=crowd,
            sizes=None,
            answers={f"vlm_{i}": chatty for i in range(20)},
        )
    )
    text = prompts.opening_messages(view, turns=8, depth_left=2)[1]["content"]
    assert json.loads(text)["consensus_objects"]["cone"]["count"] == 1500
    assert len(text) < 8000


def test_rules_name_every_operation():
    rules = prompts.opening_messages(View.from_case(case()), turns=8, depth_left=2)[0]["content"]
    names = [model.model_fields["op"].annotation.__args__[0] for model in Operation.__args__]
    assert len(names) == 5
    assert all(f'{{"op": "{name}"' in rules for name in [*names, "verdict"])


def test_rules_are_equal_for_all_cases():
    """A server can then cache them."""
    first = prompts.opening_messages(View.from_case(case()), turns=8, depth_left=2)
    second = prompts.opening_messages(
        View.from_case(case(objects=detections((LEFT, 0.1, CONE)), sizes=None)),
        turns=3,
        depth_left=0,
    )
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_summary_of_case_without_votes():
    summary = prompts.summarize(View.from_case(case(p=None, agreement=None)))
    assert summary["ensemble"] == {"p_yes": None, "agreement": None}
    assert summary["deciding_classes"] == list(TAXONOMY.deciding)


def test_reply_of_thoughts_alone_becomes_empty_object():
    """Some servers refuse a message without content."""
    reply, results = prompts.turn_messages("Hm.</think>", [{"error": "?"}], turns_left=3)
    assert reply == {"role": "assistant", "content": "{}"}
    assert json.loads(results["content"]) == {"results": [{"error": "?"}], "turns_left": 3}
