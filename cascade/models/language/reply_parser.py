"""Parser of a language model's reply to a yes/no question.

The reply should be JSON with the key `answer`, but not every server enforces it: prose that
begins with the answer, and truncated JSON, are accepted, too.
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
_THOUGHT_END = "</think>"
_MAX_CHARACTERS = 20_000  # limit for parsing; our replies have a few hundred
_MAX_REASON, _MAX_OBJECTS = 500, 50


@dataclass(frozen=True)
class Token:
    """Token of a reply.

    Attributes:
        text: Characters of the token.
        alternatives: Alternative texts, including the token itself, with the natural logarithms
            of their probabilities.
    """

    text: str
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Reply:
    """Reply of a server.

    Attributes:
        text: Message.
        tokens: Tokens of the message; empty if the server returns no probabilities.
    """

    text: str
    tokens: tuple[Token, ...] = ()


def answer_of(reply: Reply) -> Answer:
    """Return the answer in a reply; the empty answer if it is neither yes nor no.

    The probability of yes is relative to that of no, from the tokens at the answer's position.
    Without tokens it is 1 or 0.
    """
    text = reply.text[_end_of_thoughts(reply.text) :][:_MAX_CHARACTERS]
    verdict = _VERDICT.search(text)
    if verdict is None:
        return Answer.empty()
    p_yes = probability_of_yes(reply.tokens)
    if p_yes is None:
        p_yes = 1.0 if _parse_side(verdict.group(verdict.lastgroup or 0)) == "yes" else 0.0
    content = _content(text)
    if content is None:
        prose = text if verdict.lastgroup == "word" else ""
        return Answer(p_yes=p_yes, reason=prose.strip()[:_MAX_REASON])
    return Answer(
        p_yes=p_yes, reason=_reason(content.get("reason")), objects=_objects(content.get("objects"))
    )


def probability_of_yes(tokens: Sequence[Token]) -> float | None:
    """Return the share of yes in the probability of yes and no at the answer's position.

    The probabilities of all spellings, such as `yes`, ` Yes` and `y`, are added.

    Returns:
        Share in [0, 1]; None if there are no probabilities or no answer.
    """
    text = "".join(token.text for token in tokens)
    begin = _end_of_thoughts(text)
    verdict = _VERDICT.search(text[begin:][:_MAX_CHARACTERS])
    if verdict is None:
        return None
    token, within = _token_at(tokens, begin + verdict.start(verdict.lastgroup or 0))
    mass: dict[Side, float] = {"yes": 0.0, "no": 0.0}
    for word, log_probability in token.alternatives:
        side = _parse_side(_continuation(word, token.text[:within]))
        if side is not None:
            mass[side] += math.exp(min(log_probability, 0.0))
    total = mass["yes"] + mass["no"]
    return mass["yes"] / total if total > 0 else None


def _end_of_thoughts(text: str) -> int:
    """Return the end of the thoughts that some models print before their answer."""
    return len(text) - len(text.rpartition(_THOUGHT_END)[2])


def _token_at(tokens: Sequence[Token], position: int) -> tuple[Token, int]:
    """Return the token at a character position, and the position within the token."""
    for token in tokens:
        if position < len(token.text):
            return token, position
        position -= len(token.text)
    raise IndexError("position is after the last token")


def _continuation(word: str, before: str) -> str:
    """Return an alternative's text at the answer's position; empty if its prefix differs."""
    if word.startswith(before):
        return word[len(before) :]
    return word if before.isspace() else ""


def _parse_side(word: str) -> Side | None:
    """Return the side of a word, or of the beginning of a word."""
    letters = re.match(r"[\s\"']*([a-z]*)", word.casefold())
    start = letters[1] if letters else ""
    for side, words in _SIDES.items():
        if start and any(spelling.startswith(start) for spelling in words):
            return side
    return None


def _content(text: str) -> dict[str, Any] | None:
    """Return the first JSON object with an answer, ignoring the surrounding text."""
    decoder = json.JSONDecoder()
    for brace in re.finditer(r"\{", text):
        try:
            content, _ = decoder.raw_decode(text, brace.start())
        except (ValueError, RecursionError):
            continue  # this brace does not open JSON; a later one may
        if isinstance(content, dict) and "answer" in content:
            return content
    return None


def _reason(value: object) -> str:
    return value.strip()[:_MAX_REASON] if isinstance(value, str) else ""


def _objects(value: object) -> tuple[str, ...]:
    """Return the distinct names in a list, in order."""
    if not isinstance(value, list):
        return ()
    names = (item.strip() for item in value if isinstance(item, str))
    return tuple(dict.fromkeys(name for name in names if name))[:_MAX_OBJECTS]
