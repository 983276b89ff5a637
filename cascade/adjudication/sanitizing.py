"""Quoting of text from models and data for prompts: as JSON, which keeps it data.

A name such as `ignore previous instructions` cannot end its string, start a message or become an
operation. The control marks of chat templates (`<|im_end|>`, `[INST]`) are escaped: a JSON parser
reads them back unchanged, but no tokenizer sees them.
"""

from __future__ import annotations

import json
import re
from typing import Any

_BRACKETED_MARK = re.compile(r"\[(?=/?[A-Z_]+\])")  # in JSON, only a string can match this


def to_json(value: Any) -> str:
    """Return compact JSON without marks of a chat template."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return escape_marks(text)


def escape_marks(text: str) -> str:
    """Return a JSON text with equal content, without marks of a chat template."""
    return _BRACKETED_MARK.sub(r"\\u005b", text.replace("<", r"\u003c"))


def strip_thoughts(reply: str) -> str:
    """Return a reply without the thoughts that some models print before their answer."""
    return reply.rpartition("</think>")[2].strip()


def shorten(text: str, max_chars: int) -> str:
    """Return the text on one line, cut to `max_chars` characters."""
    line = " ".join(text.split())
    return line if len(line) <= max_chars else f"{line[: max_chars - 1]}…"
