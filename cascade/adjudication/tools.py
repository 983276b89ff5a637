"""The planner's typed operations, and the JSON schema of a turn.

{"do": [OPERATION, ...]}    operations, which run concurrently
{"do": [VERDICT]}           the end of the conversation
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

from cascade.adjudication.sanitizing import shorten, strip_thoughts
from cascade.errors import CascadeError
from cascade.taxonomy import Taxonomy

MAX_OPERATIONS = 8  # per turn
MAX_COMPARED_BOXES = 8  # per comparison
MAX_NAME_CHARS = 40  # name of a member or a box
MAX_TEXT_CHARS = 300  # question or reason; longer text is cut

_MAX_ERRORS = 3  # errors of a reply that are reported together


class OperationError(CascadeError, ValueError):
    """A requested operation is invalid; the planner gets the message and can correct itself."""


def _check_corners(region: tuple[float, ...]) -> tuple[float, ...]:
    if region[0] >= region[2] or region[1] >= region[3]:
        raise ValueError("a region is [x1, y1, x2, y2] with x1 < x2 and y1 < y2")
    return region


_Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Region = Annotated[
    tuple[_Fraction, _Fraction, _Fraction, _Fraction],
    AfterValidator(_check_corners),
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}),
]
_Name = Annotated[str, Field(json_schema_extra={"maxLength": MAX_NAME_CHARS})]
_Text = Annotated[
    str,
    Field(min_length=1, json_schema_extra={"maxLength": MAX_TEXT_CHARS}),
    AfterValidator(lambda text: shorten(text, MAX_TEXT_CHARS)),
]


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        # Strict servers want every key to be required; `parse` accepts replies that omit one.
        json_schema_serialization_defaults_required=True,
    )


class CountVotes(_Frozen):
    """Members that see a class, that could but do not, and that cannot name it."""

    op: Literal["count_votes"]
    class_: Annotated[str, Field(alias="class")]


class ListBoxes(_Frozen):
    """A page of boxes, filtered by class, member, region and probability."""

    op: Literal["list_boxes"]
    class_: Annotated[str | None, Field(alias="class")] = None
    member: _Name | None = None
    region: _Region | None = None
    at_least_p: _Fraction = 0.0
    page: Annotated[int, Field(ge=1)] = 1


class CompareSizes(_Frozen):
    """Distance and real size of boxes, with the usual sizes of their classes."""

    op: Literal["compare_sizes"]
    boxes: Annotated[tuple[_Name, ...], Field(min_length=1, max_length=MAX_COMPARED_BOXES)]


class Look(_Frozen):
    """A yes/no question about a close-up of a box or a region."""

    op: Literal["look"]
    question: _Text
    box: _Name | None = None
    region: _Region | None = None

    @model_validator(mode="after")
    def _check_target(self) -> Look:
        if (self.box is None) == (self.region is None):
            raise ValueError("name either a box or a region")
        return self


class Recurse(_Frozen):
    """A yes/no question about a region, settled by a conversation about that region."""

    op: Literal["recurse"]
    region: _Region
    question: _Text


class Verdict(_Frozen):
    """The decision that ends the conversation."""

    op: Literal["verdict"]
    p_yes: _Fraction
    reason: _Text


Query = CountVotes | ListBoxes | CompareSizes
Operation = Query | Look | Recurse
Request = Verdict | tuple[Operation, ...]


class _Turn(_Frozen):
    do: Annotated[
        tuple[Annotated[Operation | Verdict, Field(discriminator="op")], ...],
        Field(min_length=1, max_length=MAX_OPERATIONS),
    ]


def parse(text: str) -> Request:
    """Return the verdict or the operations in a reply.

    Ignores thoughts before the JSON and a code fence around it, because not every server
    enforces a schema.

    Raises:
        OperationError: The reply is not JSON or does not follow the schema.
    """
    body = strip_thoughts(text).removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        turn = _Turn.model_validate_json(body).do
    except ValidationError as error:
        raise OperationError(_describe(error)) from error
    operations = tuple(item for item in turn if not isinstance(item, Verdict))
    verdicts = [item for item in turn if isinstance(item, Verdict)]
    if verdicts and len(turn) > 1:
        raise OperationError("A verdict stands alone: wait for the results of operations first.")
    return verdicts[0] if verdicts else operations


def schema(taxonomy: Taxonomy) -> dict[str, Any]:
    """Return the JSON schema of a turn, with the classes of a taxonomy.

    Uses only keywords that every constrained decoder supports; `parse` checks the others, for
    example the range of a number.
    """
    return _simplify(_Turn.model_json_schema(mode="serialization"), list(taxonomy.names))


_UNSUPPORTED = {
    "title", "description", "default", "discriminator", "minimum", "maximum", "minLength",
}  # fmt: skip


def _simplify(node: Any, classes: list[str]) -> Any:
    if isinstance(node, list):
        return [_simplify(item, classes) for item in node]
    if not isinstance(node, dict):
        return node
    simple = {
        {"oneOf": "anyOf"}.get(key, key): _simplify(value, classes)
        for key, value in node.items()
        if key not in _UNSUPPORTED
    }
    properties = simple.get("properties", {})
    if "class" in properties:
        names = {"type": "string", "enum": classes}
        optional = "anyOf" in properties["class"]
        properties["class"] = {"anyOf": [names, {"type": "null"}]} if optional else names
    return simple


def _describe(error: ValidationError) -> str:
    """Return the first errors, each with its location."""
    messages = [
        f"{'.'.join(map(str, detail['loc'])) or 'the reply'}: {detail['msg']}"
        for detail in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return shorten("; ".join(messages[:_MAX_ERRORS]), 2 * MAX_TEXT_CHARS)
