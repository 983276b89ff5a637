"""How the App shows what an operator did: the sentence, then every figure; or what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fiftyone.operators import types

_NOT_SHOWN = ("summary", "view", "advice")  # advice is in the summary


def of_result(title: str, result: Mapping[str, Any]) -> Any:
    """Return the form in which a result is shown."""
    outputs = types.Object()
    if result.get("summary"):
        outputs.str("summary", label="Done", view=types.MarkdownView(read_only=True))
    for name, value in result.items():
        if name in _NOT_SHOWN or value in (None, "", [], {}):
            continue
        label = name.replace("_", " ").capitalize()
        if isinstance(value, (bool, int, float, str)):
            outputs.str(name, label=label, view=types.LabelValueView(read_only=True))
        else:
            outputs.obj(name, label=label, view=types.JSONView(read_only=True))
    return types.Property(outputs, view=types.View(label=title))


def of_error(line: str) -> Any:
    """Return the form in which an error is shown."""
    outputs = types.Object()
    outputs.view("error", types.Error(label="This did not work", description=line))
    return types.Property(outputs)
