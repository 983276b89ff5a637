"""What a language model's reply says about a yes/no question.

The reply should be JSON with the key `answer`, but not every server holds its model to that:
prose that begins with the answer is understood, too, and so is JSON that was cut off.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cascade.predictions import Answer

Side = Literal["yes", "no"]

_SIDES: dict[Side, tuple[str, ...]] = {"yes": ("yes", "true"), "no": ("no", "false")}
_VERDICT = re.compile(
    r'"answer"\s*:\s*"?(?P<field>yes|no|true|false)(?=\s*["\',.;}\n]|\s*$)'
    r"|^\W*(?P<word>yes|no)\b(?!\s*(?:/|or\b))",
    re.IGNORECASE,
)
_THOUGHT_ENDS = "</think>"
_LONGEST = 20_000  # characters that are looked at; ours have a few hundred
_LONGEST_REASON, _MOST_OBJECTS = 500, 50


@dataclass(frozen=True)
class Token:
    """One token of a reply.

    Attributes:
        text: Its characters.
        alternatives: Texts that could have stood at its place, itself among them, and the natural
            logarithm of the probability of each.
    """

    text: str
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Reply:
    """What a server returned.

    Attributes:
        text: The message.
        tokens: Its tokens; empty where the server gives no probabilities.
    """

    text: str
    tokens: tuple[Token, ...] = ()


def answer_of(reply: Reply) -> Answer:
    """Return what the reply says; the empty answer where that is neither yes nor no.

    The probability of yes is that of its tokens beside those of no, at the place of the answer.
    Without tokens it is 1 or 0, as the reply reads.
    """
    text = reply.text[_thoughts_end(reply.text) :][:_LONGEST]
    verdict = _VERDICT.search(text)
    if verdict is None:
        return Answer.empty()
    p_yes = probability_of_yes(reply.tokens)
    if p_yes is None:
        p_yes = 1.0 if _side_of(verdict.group(verdict.lastgroup or 0)) == "yes" else 0.0
    content = _content(text)
    if content is None:
        prose = text if verdict.lastgroup == "word" else ""
        return Answer(p_yes=p_yes, reason=prose.strip()[:_LONGEST_REASON])
    return Answer(
        p_yes=p_yes, reason=_reason(content.get("reason")), objects=_objects(content.get("objects"))
    )


def probability_of_yes(tokens: Sequence[Token]) -> float | None:
    """Return the share of yes in the probability of yes and no, where the answer stands.

    Spellings count together: of `yes`, ` Yes` and `y` each has its part of the mass.

    Returns:
        In [0, 1]; None where there are no probabilities, or no answer.
    """
    text = "".join(token.text for token in tokens)
    begin = _thoughts_end(text)
    verdict = _VERDICT.search(text[begin:][:_LONGEST])
    if verdict is None:
        return None
    token, within = _token_at(tokens, begin + verdict.start(verdict.lastgroup or 0))
    mass: dict[Side, float] = {"yes": 0.0, "no": 0.0}
    for word, log_probability in token.alternatives:
        side = _side_of(_continuation(word, token.text[:within]))
        if side is not None:
            mass[side] += math.exp(min(log_probability, 0.0))
    total = mass["yes"] + mass["no"]
    return mass["yes"] / total if total > 0 else None


def _thoughts_end(text: str) -> int:
    """Return where the thoughts end that some models print before their answer."""
    return len(text) - len(text.rpartition(_THOUGHT_ENDS)[2])


def _token_at(tokens: Sequence[Token], place: int) -> tuple[Token, int]:
    """Return the token that holds the character at `place`, and where in the token that is."""
    for token in tokens:
        if place < len(token.text):
            return token, place
        place -= len(token.text)
    raise IndexError("place lies behind the last token")


def _continuation(word: str, before: str) -> str:
    """Return what an alternative has at the answer's place; nothing where it has another form."""
    if word.startswith(before):
        return word[len(before) :]
    return word if before.isspace() else ""


def _side_of(word: str) -> Side | None:
    """Return the side that a word, or the beginning of one, is on."""
    letters = re.match(r"[\s\"']*([a-z]*)", word.casefold())
    start = letters[1] if letters else ""
    for side, words in _SIDES.items():
        if start and any(one.startswith(start) for one in words):
            return side
    return None


def _content(text: str) -> dict[str, Any] | None:
    """Return the first JSON object that has an answer, whatever stands around it."""
    decoder = json.JSONDecoder()
    for brace in re.finditer(r"\{", text):
        try:
            content, _ = decoder.raw_decode(text, brace.start())
        except (ValueError, RecursionError):
            continue  # a brace that opens no JSON; another one may
        if isinstance(content, dict) and "answer" in content:
            return content
    return None


def _reason(value: object) -> str:
    return value.strip()[:_LONGEST_REASON] if isinstance(value, str) else ""


def _objects(value: object) -> tuple[str, ...]:
    """Return the names in a list, each once, in order."""
    if not isinstance(value, list):
        return ()
    names = (one.strip() for one in value if isinstance(one, str))
    return tuple(dict.fromkeys(name for name in names if name))[:_MOST_OBJECTS]
