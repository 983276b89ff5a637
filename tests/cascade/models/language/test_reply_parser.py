import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.models.language.reply_parser import Reply, Token, answer_of, probability_of_yes
from cascade.predictions import Answer


def tokens(*texts, **alternatives):
    """Return tokens; `yes={...}` gives the alternatives of the token `yes` as probabilities."""
    return tuple(
        Token(text, tuple((w, math.log(p)) for w, p in alternatives.get(text.strip(), {}).items()))
        for text in texts
    )


TEXTS = [
    pytest.param('{"answer":"yes","objects":[],"reason":""}', 1.0, id="JSON"),
    pytest.param('{"answer": "No", "objects": []}', 0.0, id="JSON in other case"),
    pytest.param('{"answer": true}', 1.0, id="a boolean"),
    pytest.param('```json\n{"answer": "yes"}\n```', 1.0, id="JSON in a fence"),
    pytest.param('Sure! {"answer": "no"} Anything else?', 0.0, id="JSON within prose"),
    pytest.param('{"answer": "yes", "objects": ["co', 1.0, id="JSON that was cut off"),
    pytest.param('{"answer":"no', 0.0, id="JSON that was cut off within the answer"),
    pytest.param("Yes, there are cones.", 1.0, id="prose"),
    pytest.param("**No**", 0.0, id="prose with marks"),
    pytest.param('<think>{"answer": "yes"}? Hm.</think>{"answer": "no"}', 0.0, id="after thoughts"),
    pytest.param("", None, id="nothing"),
    pytest.param("There are cones.", None, id="prose beside the point"),
    pytest.param("Nothing stands there.", None, id="a word that begins like no"),
    pytest.param('{"answer": "maybe"}', None, id="another answer"),
    pytest.param('{"answer": "yes or no"}', None, id="both answers"),
    pytest.param("Yes or no, who knows", None, id="both answers in prose"),
    pytest.param('{"reason": "yes"}', None, id="a yes elsewhere"),
    pytest.param("{" * 5000, None, id="braces"),
]


@pytest.mark.parametrize(("text", "p_yes"), TEXTS)
def test_answer_of_text_without_probabilities(text, p_yes):
    assert answer_of(Reply(text)).p_yes == p_yes


@given(st.text() | st.text('{}[]":,yesnoanswer '))
def test_any_text_is_parsed_without_error(text):
    assert answer_of(Reply(text, tokens(text))).p_yes in (None, 0.0, 1.0)


def test_reason_and_objects_are_parsed():
    text = '{"answer":"yes","objects":["cone"," drum ","cone",3,""],"reason":" Two of them. "}'
    assert answer_of(Reply(text)) == Answer(1.0, "Two of them.", ("cone", "drum"))


def test_prose_becomes_reason():
    assert answer_of(Reply("Yes, I see cones.")).reason == "Yes, I see cones."


@pytest.mark.parametrize(
    "text", ['{"answer":"no","objects":"cone","reason":[1]}', '{"answer":"no"}']
)
def test_values_of_other_types_are_dropped(text):
    assert answer_of(Reply(text)) == Answer(0.0)


def test_missing_answer_is_empty_answer():
    assert answer_of(Reply("I cannot see the image.")) == Answer.empty()


def test_probability_comes_from_token_at_answer():
    reply_tokens = tokens('{"', "answer", '":"', "no", '"}', no={"no": 0.6, "yes": 0.2, "x": 0.2})
    reply = Reply('{"answer":"no"}', reply_tokens)
    assert answer_of(reply).p_yes == pytest.approx(0.2 / 0.8)


PLACES = [
    pytest.param(("yes",), {"yes": 0.3, "no": 0.1}, 0.75, id="alone"),
    pytest.param(("yes",), {"yes": 0.3, " Yes": 0.3, "YES": 0.1, "no": 0.2, " No": 0.1}, 0.7,
                 id="spellings count together"),
    pytest.param((" Yes",), {" Yes": 0.5, "No": 0.5}, 0.5, id="with and without a space"),
    pytest.param(('{"answer":', ' "yes"', "}"), None, None, id="without alternatives"),
    pytest.param(('{"answer":"', "y", "es", '"}'), {"y": 0.4, "yes": 0.4, "n": 0.2}, 0.8,
                 id="a word of two tokens"),
    pytest.param(("yes",), {"yes": 0.3, "not": 0.3, "none": 0.2, "yet": 0.2}, 1.0,
                 id="words that only begin alike"),
    pytest.param(("no", "<think>", "</think>", "yes"), {"yes": 0.9, "no": 0.1}, 0.9,
                 id="after thoughts"),
]  # fmt: skip


@pytest.mark.parametrize(("reply_tokens", "alternatives", "expected"), PLACES)
def test_probability_of_yes(reply_tokens, alternatives, expected):
    listed = dict.fromkeys(("yes", "Yes", "y"), alternatives) if alternatives else {}
    p_yes = probability_of_yes(tokens(*reply_tokens, **listed))
    assert p_yes == (None if expected is None else pytest.approx(expected))


def test_token_that_contains_more_than_answer():
    """Alternatives with another prefix do not count as answers."""
    reply_tokens = (
        Token('{"answer":'),
        Token(' "yes"', ((' "yes"', math.log(0.5)), (' "no"', math.log(0.25)), ("no", 0.0))),
    )
    assert probability_of_yes(reply_tokens) == pytest.approx(2 / 3)


def test_impossible_alternatives_have_no_weight():
    reply_tokens = (Token("no", (("no", 0.0), ("yes", -9999.0), ("", -9999.0))),)
    assert probability_of_yes(reply_tokens) == 0.0


def test_token_without_yes_and_no_has_no_probability():
    reply_tokens = (Token("yes", (("yes", -9999.0), ("no", -9999.0))),)
    assert probability_of_yes(reply_tokens) is None
    assert answer_of(Reply("yes", reply_tokens)).p_yes == 1.0


def test_no_tokens_have_no_probability():
    assert probability_of_yes(()) is None
