"""What the root may ask for: a small, fixed set of typed operations, and the schema of a turn.

{"do": [OPERATION, ...]}    all at once
{"do": [VERDICT]}           the end
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from cascade.adjudication.sanitizing import shortened, without_thoughts
from cascade.errors import CascadeError
from cascade.taxonomy import Taxonomy

MOST_AT_ONCE = 8  # operations in a turn
MOST_BOXES = 8  # in one comparison
LONGEST_NAME = 40  # characters of a member's name, or a box's
LONGEST_TEXT = 300  # characters of a question or a reason; what is longer is cut

_WRONG_SHOWN = 3  # mistakes of a reply that are told at once


class OperationError(CascadeError, ValueError):
    """What the root asked for cannot be done; the message is for the root, which may mend it."""


def _ascending(region: tuple[float, ...]) -> tuple[float, ...]:
    if region[0] >= region[2] or region[1] >= region[3]:
        raise ValueError("a region is [x1, y1, x2, y2] with x1 < x2 and y1 < y2")
    return region


_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Region = Annotated[
    tuple[_Share, _Share, _Share, _Share],
    AfterValidator(_ascending),
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}),
]
_Name = Annotated[str, Field(json_schema_extra={"maxLength": LONGEST_NAME})]
_Text = Annotated[
    str,
    Field(min_length=1, json_schema_extra={"maxLength": LONGEST_TEXT}),
    AfterValidator(lambda text: shortened(text, LONGEST_TEXT)),
]


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        # Servers that are strict want every key required; to leave one out is understood, too.
        json_schema_serialization_defaults_required=True,
    )


class CountVotes(_Frozen):
    """Which members see a class, which could and do not, and which cannot name it."""

    op: Literal["count_votes"]
    class_: Annotated[str, Field(alias="class")]


class ListBoxes(_Frozen):
    """Boxes, a page of them: of a class, a member, a region, above a probability."""

    op: Literal["list_boxes"]
    class_: Annotated[str | None, Field(alias="class")] = None
    member: _Name | None = None
    region: _Region | None = None
    at_least_p: _Share = 0.0
    page: Annotated[int, Field(ge=1)] = 1


class CompareSizes(_Frozen):
    """Distance and real size of boxes, beside what their classes come in."""

    op: Literal["compare_sizes"]
    boxes: Annotated[tuple[_Name, ...], Field(min_length=1, max_length=MOST_BOXES)]


class Look(_Frozen):
    """A yes/no question about a close-up of a box or a region."""

    op: Literal["look"]
    question: _Text
    box: _Name | None = None
    region: _Region | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Look:
        if (self.box is None) == (self.region is None):
            raise ValueError("name either a box or a region")
        return self


class Recurse(_Frozen):
    """A yes/no question about a region, settled like the whole: with operations of its own."""

    op: Literal["recurse"]
    region: _Region
    question: _Text


class Verdict(_Frozen):
    """The end."""

    op: Literal["verdict"]
    p_yes: _Share
    reason: _Text


Query = CountVotes | ListBoxes | CompareSizes
Operation = Query | Look | Recurse
Turn = Verdict | tuple[Operation, ...]


class _Said(_Frozen):
    do: Annotated[
        tuple[Annotated[Operation | Verdict, Field(discriminator="op")], ...],
        Field(min_length=1, max_length=MOST_AT_ONCE),
    ]


def parse(text: str) -> Turn:
    """Return what a reply asks for: a verdict, or operations.

    Thoughts before the JSON, and a fence around it, are ignored: not every server holds its
    model to a schema.

    Raises:
        OperationError: It is no JSON, or not of the schema.
    """
    body = without_thoughts(text).removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        said = _Said.model_validate_json(body)
    except ValidationError as error:
        raise OperationError(_told(error)) from error
    operations = tuple(one for one in said.do if not isinstance(one, Verdict))
    verdicts = [one for one in said.do if isinstance(one, Verdict)]
    if verdicts and len(said.do) > 1:
        raise OperationError("A verdict stands alone: wait for the results of operations first.")
    return verdicts[0] if verdicts else operations


def schema(taxonomy: Taxonomy) -> dict[str, Any]:
    """Return the JSON schema of a turn, with the classes of a taxonomy.

    In the part of JSON schema that constrained decoding understands everywhere; what it leaves
    out, such as the range of a number, `parse` checks.
    """
    made = _Said.model_json_schema(mode="serialization")
    return _plain(made, list(taxonomy.names))


_LEFT_OUT = {"title", "description", "default", "discriminator", "minimum", "maximum", "minLength"}


def _plain(node: Any, classes: list[str]) -> Any:
    if isinstance(node, list):
        return [_plain(one, classes) for one in node]
    if not isinstance(node, dict):
        return node
    found = {
        {"oneOf": "anyOf"}.get(key, key): _plain(value, classes)
        for key, value in node.items()
        if key not in _LEFT_OUT
    }
    if "class" in found.get("properties", {}):
        named = {"type": "string", "enum": classes}
        optional = "anyOf" in found["properties"]["class"]
        found["properties"]["class"] = {"anyOf": [named, {"type": "null"}]} if optional else named
    return found


def _told(error: ValidationError) -> str:
    """Return the first mistakes, each with its place."""
    mistakes = [
        f"{'.'.join(map(str, one['loc'])) or 'the reply'}: {one['msg']}"
        for one in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return shortened("; ".join(mistakes[:_WRONG_SHOWN]), 2 * LONGEST_TEXT)
