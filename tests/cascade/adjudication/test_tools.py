"""Parsing of replies, and their schema."""

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


def nodes(node):
    """Yield all objects in a JSON value."""
    if isinstance(node, dict):
        yield node
    children = node.values() if isinstance(node, dict) else node
    for child in children if isinstance(node, dict | list) else ():
        yield from nodes(child)


def test_operations_are_parsed_in_order():
    operations = parse(turn({"op": "count_votes", "class": "cone"}, look(), {"op": "list_boxes"}))
    assert operations == (
        CountVotes(op="count_votes", class_="cone"),
        Look(op="look", box="o1", question="Is it a cone?"),
        ListBoxes(op="list_boxes"),
    )


def test_verdict_must_be_alone():
    assert parse(verdict(0.7)) == Verdict(op="verdict", p_yes=0.7, reason="Seen.")
    with pytest.raises(OperationError, match="alone"):
        parse(turn(look(), {"op": "verdict", "p_yes": 1, "reason": "x"}))


@pytest.mark.parametrize(
    "wrapper",
    [
        pytest.param("<think>{{}} I could look.</think>\n{}", id="thoughts"),
        pytest.param("```json\n{}\n```", id="a fence"),
        pytest.param("```\n{}```", id="a plain fence"),
    ],
)
def test_text_around_json_is_ignored(wrapper):
    assert parse(wrapper.format(verdict(0.7))).p_yes == 0.7


def test_long_question_is_cut():
    (operation,) = parse(turn(look(question="x" * 999)))
    assert len(operation.question) == tools.MAX_TEXT_CHARS


def test_missing_key_equals_null():
    bare = parse(turn({"op": "list_boxes"}))
    full = {"class": None, "member": None, "region": None, "at_least_p": 0, "page": 1}
    assert parse(turn({"op": "list_boxes", **full})) == bare


def test_schema_has_every_operation():
    names = {node["const"] for node in nodes(schema(TAXONOMY)) if "const" in node}
    expected = {"count_votes", "list_boxes", "compare_sizes", "look", "recurse", "verdict"}
    assert names == expected
    assert len(Operation.__args__) + 1 == len(expected)


def test_schema_lists_classes_of_taxonomy():
    enums = [node["enum"] for node in nodes(schema(TAXONOMY)) if "enum" in node]
    assert enums == [["cone", "drum", "car"]] * 2


def test_schema_uses_only_widely_supported_keywords():
    keys = {key for node in nodes(schema(TAXONOMY)) for key in node if key != "properties"}
    assert not keys & {"oneOf", "discriminator", "default", "prefixItems", "minimum", "pattern"}
    for node in nodes(schema(TAXONOMY)):
        if node.get("type") == "object":
            assert node["additionalProperties"] is False
            assert sorted(node["required"]) == sorted(node["properties"])


def test_reply_that_follows_schema_is_parsed():
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
