"""What a reply may ask for, and the schema that says so."""

import json

import pytest
from adjudication_cases import TAXONOMY, look, recurse, turn, verdict

from cascade.adjudication import tools
from cascade.adjudication.tools import (
    CountVotes,
    ListBoxes,
    Look,
    Operation,
    OperationError,
    Verdict,
    parse,
    schema,
)


def walk(node):
    yield node
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(one)


def test_operations_come_as_they_were_asked_for():
    asked = parse(turn({"op": "count_votes", "class": "cone"}, look(), {"op": "list_boxes"}))
    assert asked == (
        CountVotes(op="count_votes", class_="cone"),
        Look(op="look", box="o1", question="Is it a cone?"),
        ListBoxes(op="list_boxes"),
    )


def test_a_verdict_stands_alone():
    assert parse(verdict(0.7)) == Verdict(op="verdict", p_yes=0.7, reason="Seen.")
    with pytest.raises(OperationError, match="alone"):
        parse(turn(look(), {"op": "verdict", "p_yes": 1, "reason": "x"}))


@pytest.mark.parametrize(
    "around",
    [
        pytest.param("<think>{{}} I could look.</think>\n{}", id="thoughts"),
        pytest.param("```json\n{}\n```", id="a fence"),
        pytest.param("```\n{}```", id="a plain fence"),
    ],
)
def test_what_stands_around_the_json_is_ignored(around):
    assert parse(around.format(verdict(0.7))).p_yes == 0.7


def test_a_long_question_is_cut():
    (asked,) = parse(turn(look(question="x" * 999)))
    assert len(asked.question) == tools.LONGEST_TEXT


def test_a_key_left_out_and_one_that_is_null_are_the_same():
    bare = parse(turn({"op": "list_boxes"}))
    full = {"class": None, "member": None, "region": None, "at_least_p": 0, "page": 1}
    assert parse(turn({"op": "list_boxes", **full})) == bare


def test_the_schema_knows_every_operation():
    found = [
        one["const"] for one in walk(schema(TAXONOMY)) if isinstance(one, dict) and "const" in one
    ]
    expected = {"count_votes", "list_boxes", "compare_sizes", "look", "recurse", "verdict"}
    assert set(found) == expected
    assert len(Operation.__args__) + 1 == len(expected)


def test_the_schema_offers_the_classes_of_the_taxonomy():
    enums = [
        one["enum"] for one in walk(schema(TAXONOMY)) if isinstance(one, dict) and "enum" in one
    ]
    assert enums == [["cone", "drum", "car"]] * 2


def test_the_schema_uses_only_what_every_server_understands():
    made = schema(TAXONOMY)
    nodes = [one for one in walk(made) if isinstance(one, dict)]
    keys = {key for one in nodes for key in one if "properties" not in one or key != "properties"}
    assert not keys & {"oneOf", "discriminator", "default", "prefixItems", "minimum", "pattern"}
    for one in nodes:
        if one.get("type") == "object":
            assert one["additionalProperties"] is False
            assert sorted(one["required"]) == sorted(one["properties"])


def test_a_reply_that_keeps_to_the_schema_is_understood():
    jsonschema = pytest.importorskip("jsonschema")
    complete = {"class": "cone", "member": None, "region": [0, 0, 1, 1], "at_least_p": 0, "page": 1}
    reply = turn(
        {"op": "list_boxes", **complete},
        {**look(), "region": None},
        recurse(),
        {"op": "compare_sizes", "boxes": ["o1"]},
    )
    jsonschema.validate(json.loads(reply), schema(TAXONOMY))
    assert len(parse(reply)) == 4
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(turn({"op": "exec"})), schema(TAXONOMY))
