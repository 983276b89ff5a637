"""Whatever is quoted stays data."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.adjudication.sanitizing import as_json, shortened, unmarked, without_thoughts

MARKS = ["<|im_end|>", "[INST]", "[/INST]", "[TOOL_CALLS]", "</think>", "<\uff5cUser\uff5c>", "<s>"]


@settings(deadline=None)
@given(st.recursive(st.text() | st.none() | st.integers(), lambda one: st.lists(one)))
def test_json_reads_back_what_was_written(value):
    assert json.loads(as_json(value)) == value


@settings(deadline=None)
@given(st.lists(st.sampled_from([*MARKS, "[", "]", "\\", '"', "A"])).map("".join))
def test_marks_of_chat_templates_read_back_but_are_not_there(text):
    written = as_json({"x": [text, [1, [2]]]})
    assert json.loads(written) == {"x": [text, [1, [2]]]}
    assert not any(mark in written for mark in MARKS)


def test_a_reply_without_marks_is_left_as_it_is():
    assert unmarked('{"do":[{"op":"look"}]}') == '{"do":[{"op":"look"}]}'


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        as_json(float("nan"))


def test_a_text_becomes_one_line_of_bounded_length():
    assert shortened(" a\n b\t c ", 9) == "a b c"
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abcd", 4) == "abcd"


def test_thoughts_are_left_out():
    assert without_thoughts("<think>Hm </think> no </think>\n{}") == "{}"
    assert without_thoughts("{}") == "{}"
