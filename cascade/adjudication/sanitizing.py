"""How what models and data say is put into a prompt: as JSON, so that it stays data.

A name such as `ignore previous instructions` cannot end its string, begin a message or become an
operation. What chat templates take for marks of their own (`<|im_end|>`, `[INST]`) is escaped:
JSON reads it back unchanged, but no tokenizer sees the mark.
"""

from __future__ import annotations

import json
import re
from typing import Any

_BRACKETED_MARK = re.compile(r"\[(?=/?[A-Z_]+\])")  # no JSON but that of a string looks so


def as_json(value: Any) -> str:
    """Return compact JSON that holds no mark of a chat template."""
    return unmarked(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def unmarked(text: str) -> str:
    """Return a JSON text that means the same, without marks of a chat template."""
    return _BRACKETED_MARK.sub(r"\\u005b", text.replace("<", r"\u003c"))


def without_thoughts(reply: str) -> str:
    """Return what stands behind the thoughts that some models print before their answer."""
    return reply.rpartition("</think>")[2].strip()


def shortened(text: str, most: int) -> str:
    """Return a text on one line, of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
