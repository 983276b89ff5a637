"""What the root is told at first."""

import json

from adjudication_cases import CAR, CONE, LEFT, TAXONOMY, case, found

from cascade import taxonomy
from cascade.adjudication import prompts
from cascade.adjudication.tools import Operation
from cascade.adjudication.view import View
from cascade.predictions import Answer


def test_the_summary_says_what_there_is_to_ask_about():
    assert prompts.summary(View.of(case())) == {
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


def test_the_summary_stays_short_however_much_there_is():
    crowd = found(*[(LEFT, 0.5, i % 2 * CAR) for i in range(3000)])
    chatty = Answer(p_yes=0.5, reason="word " * 500, objects=("cone " * 50,) * 50)
    view = View.of(
        case(
            taxonomy=taxonomy.load("roadwork"),
            detections={f"member_{i}": crowd for i in range(26)},
            objects=crowd,
            sizes=None,
            answers={f"vlm_{i}": chatty for i in range(20)},
        )
    )
    text = prompts.opening(view, turns=8, depth_left=2)[1]["content"]
    assert json.loads(text)["consensus_objects"]["cone"]["count"] == 1500
    assert len(text) < 8000


def test_the_rules_name_every_operation():
    rules = prompts.opening(View.of(case()), turns=8, depth_left=2)[0]["content"]
    names = [one.model_fields["op"].annotation.__args__[0] for one in Operation.__args__]
    assert len(names) == 5
    assert all(f'{{"op": "{name}"' in rules for name in [*names, "verdict"])


def test_the_rules_are_the_same_for_every_case():
    """So that a server keeps them cached."""
    one = prompts.opening(View.of(case()), turns=8, depth_left=2)
    other = prompts.opening(
        View.of(case(objects=found((LEFT, 0.1, CONE)), sizes=None)), turns=3, depth_left=0
    )
    assert one[0] == other[0]
    assert one[1] != other[1]


def test_where_nobody_votes_the_summary_says_so():
    told = prompts.summary(View.of(case(p=None, agreement=None)))
    assert told["ensemble"] == {"p_yes": None, "agreement": None}
    assert told["deciding_classes"] == list(TAXONOMY.deciding)


def test_a_reply_of_thoughts_alone_is_not_sent_back_as_nothing():
    """Some servers refuse a message without content."""
    said, told = prompts.next_turn("Hm.</think>", [{"error": "?"}], turns_left=3)
    assert said == {"role": "assistant", "content": "{}"}
    assert json.loads(told["content"]) == {"results": [{"error": "?"}], "turns_left": 3}
