"""Output forms of operators: the summary and details of a result, or an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fiftyone.operators import types

_HIDDEN = ("summary", "view", "advice")  # the summary includes the advice


def result_property(title: str, result: Mapping[str, Any]) -> types.Property:
    """Return the form that shows a result."""
    outputs = types.Object()
    if result.get("summary"):
        outputs.str("summary", label="Done", view=types.MarkdownView(read_only=True))
    for name, value in result.items():
        if name in _HIDDEN or value in (None, "", [], {}):
            continue
        label = name.replace("_", " ").capitalize()
        if isinstance(value, (bool, int, float, str)):
            outputs.str(name, label=label, view=types.LabelValueView(read_only=True))
        else:
            outputs.obj(name, label=label, view=types.JSONView(read_only=True))
    return types.Property(outputs, view=types.View(label=title))


def error_property(message: str) -> types.Property:
    """Return the form that shows an error."""
    outputs = types.Object()
    outputs.view("error", types.Error(label="The operator failed", description=message))
    return types.Property(outputs)
