"""Quoted text stays data."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.adjudication.sanitizing import escape_marks, shorten, strip_thoughts, to_json

MARKS = ["<|im_end|>", "[INST]", "[/INST]", "[TOOL_CALLS]", "</think>", "<\uff5cUser\uff5c>", "<s>"]


@settings(deadline=None)
@given(st.recursive(st.text() | st.none() | st.integers(), st.lists))
def test_to_json_round_trips(value):
    assert json.loads(to_json(value)) == value


@settings(deadline=None)
@given(st.lists(st.sampled_from([*MARKS, "[", "]", "\\", '"', "A"])).map("".join))
def test_chat_template_marks_are_escaped_and_round_trip(text):
    written = to_json({"x": [text, [1, [2]]]})
    assert json.loads(written) == {"x": [text, [1, [2]]]}
    assert not any(mark in written for mark in MARKS)


def test_escape_marks_keeps_text_without_marks():
    assert escape_marks('{"do":[{"op":"look"}]}') == '{"do":[{"op":"look"}]}'


def test_to_json_rejects_nan():
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json(float("nan"))


def test_shorten_returns_one_line_of_limited_length():
    assert shorten(" a\n b\t c ", 9) == "a b c"
    assert shorten("abcdef", 4) == "abc…"
    assert shorten("abcd", 4) == "abcd"


def test_strip_thoughts_removes_thoughts():
    assert strip_thoughts("<think>Hm </think> no </think>\n{}") == "{}"
    assert strip_thoughts("{}") == "{}"
