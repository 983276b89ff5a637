"""The labeling config of a project: what people can draw, in which colours, with which keys.

Facts of Label Studio 1.23 that it rests on:

* The browser turns an image upright as its EXIF says, and percents are of the upright image.
* A pre-annotation whose control or label the config does not name is passed over in silence.
* A label without a hotkey is given one that may also be a tool's, so every label gets its own.
* Its usual first zoom, "fit", enlarges an image that is smaller than its place until the edges
  are out of sight; "auto" shows all of it.
* A dollar sign and a word in a label is taken for a column of the task, and replaced.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling import palette

Kind = Literal["boxes", "polygons", "masks", "points"]

IMAGE = "image"  # the name of the image in the config, and the task's column
DECISION = "decision"
COMMENT = "comment"
YES, NO = "yes", "no"


@dataclass(frozen=True)
class Control:
    """Something to draw with.

    Attributes:
        name: What results call it: their `from_name`.
        tag: Its tag in the config; in lower letters it is the `type` of its results.
        attributes: Further attributes of the tag.
    """

    name: str
    tag: str
    attributes: Mapping[str, str]


CONTROLS: Mapping[Kind, Control] = {
    "boxes": Control("box", "RectangleLabels", {"canRotate": "false", "strokeWidth": "2"}),
    "polygons": Control("polygon", "PolygonLabels", {"strokeWidth": "2"}),
    "masks": Control("mask", "BrushLabels", {}),
    "points": Control("point", "KeyPointLabels", {"strokeWidth": "4"}),
}

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_TOOLS = "behkmopruvw"  # single letters that Label Studio keeps for tools
_ANSWERS = {YES: "y", NO: "n"}
_FREE = [one for one in _LETTERS if one not in _TOOLS and one not in _ANSWERS.values()]
_HOTKEYS = (
    *"123456789",
    *_FREE,
    *(f"shift+{one}" for one in _LETTERS),
    *(f"shift+alt+{one}" for one in _LETTERS),
    *(f"ctrl+alt+{one}" for one in _LETTERS),
)
_COLUMN = re.compile(r"\$[\w\[\].{}]", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff]")


def colours(taxonomy: Taxonomy) -> dict[str, str]:
    """Return the colour of each class as `#rrggbb`: in Label Studio and in FiftyOne's App."""
    return dict(zip(taxonomy.names, palette.distinct(len(taxonomy.names)), strict=True))


def labeling_config(
    taxonomy: Taxonomy, *, kinds: Sequence[Kind] = ("boxes",), decision: bool = True
) -> str:
    """Return the XML of a project that labels the classes of a taxonomy.

    Args:
        taxonomy: The classes, in order, and the question about the image.
        kinds: What may be drawn; the first kind gets the hotkeys 1 to 9.
        decision: Whether the question about the image is asked.

    Raises:
        LabelingError: A class has a name that Label Studio cannot keep, or nothing is to be
            drawn.
    """
    if not kinds or len(set(kinds)) != len(kinds):
        raise LabelingError(f"kinds must name each kind of region once, got {list(kinds)}.")
    _refuse_names(taxonomy.names)
    view = ET.Element("View", style="display: flex; gap: 16px; align-items: flex-start")
    _add_image(ET.SubElement(view, "View", style="flex: 1 1 0; min-width: 0"))
    side = ET.SubElement(view, "View", style="flex: 0 0 230px; max-height: 85vh; overflow-y: auto")
    keys = iter(_HOTKEYS)
    for i, kind in enumerate(kinds):
        control = CONTROLS[kind]
        attributes = {"name": control.name, "toName": IMAGE, **control.attributes}
        tag = ET.SubElement(side, control.tag, attributes)
        _add_labels(tag, taxonomy, keys, numbered=i == 0)
    if decision:
        _add_decision(side, taxonomy.decision.question)
    ET.SubElement(
        side, "TextArea", name=COMMENT, toName=IMAGE, maxSubmissions="1", editable="true",
        rows="2", placeholder="A comment, if something is unclear",
    )  # fmt: skip
    ET.indent(view)
    return ET.tostring(view, encoding="unicode")


def check(
    xml: str, taxonomy: Taxonomy, *, kinds: Sequence[Kind] = ("boxes",), decision: bool = True
) -> list[str]:
    """Say in words how a config that users may have edited differs from ours: lacks, then extras.

    Args:
        xml: The config, as the server has it.
        taxonomy: The classes that it should offer.
        kinds: What was to be drawn.
        decision: Whether the question about the image was asked.

    Returns:
        Nothing where all is there and nothing else.
    """
    missing = lacks(xml, taxonomy, kinds=kinds, decision=decision)
    return [*missing, *extras(xml, taxonomy, kinds=kinds, decision=decision)]


def lacks(
    xml: str, taxonomy: Taxonomy, *, kinds: Sequence[Kind] = ("boxes",), decision: bool = True
) -> list[str]:
    """Say what the config misses, so that pre-annotations or answers would be lost."""
    view = _parsed(xml)
    if isinstance(view, str):
        return [view]
    said = _lacks_image(view)
    for kind in kinds:
        control = CONTROLS[kind]
        tag = _named(view, control.tag, control.name)
        if tag is None:
            said.append(_renamed(view, control.tag, control.name))
            continue
        said.extend(_lacks_target(tag))
        said.extend(_lacks_labels(tag, taxonomy))
    if decision:
        answers = _named(view, "Choices", DECISION)
        if answers is None:
            said.append(_renamed(view, "Choices", DECISION))
        else:
            offered = {one.get("value") for one in answers.iter("Choice")}
            said.extend(
                f"The question {DECISION!r} has no answer {one!r}."
                for one in (YES, NO)
                if one not in offered
            )
    return said


def extras(
    xml: str, taxonomy: Taxonomy, *, kinds: Sequence[Kind] = ("boxes",), decision: bool = True
) -> list[str]:
    """Say what the config offers beyond ours. It does no harm; unknown labels become doubts."""
    view = _parsed(xml)
    if isinstance(view, str):
        return []
    ours = {CONTROLS[kind].name for kind in kinds} | {COMMENT} | ({DECISION} if decision else set())
    said: list[str] = []
    for tag in view.iter():
        name = tag.get("name")
        if tag.get("toName") is None or name is None:
            continue
        if name not in ours:
            said.append(f"It also has a control {name!r} ({tag.tag}).")
        said.extend(
            f"The control {name!r} also has the label {label!r}, which means no class: what is "
            "drawn with it is put aside for review."
            for label in _labels(tag)
            if taxonomy.canonical(label) is None
        )
    return said


def _add_image(view: ET.Element) -> None:
    ET.SubElement(
        view, "Image", name=IMAGE, value=f"${IMAGE}", zoom="true", zoomControl="true",
        defaultZoom="auto", brightnessControl="true", contrastControl="true",
    )  # fmt: skip


def _add_labels(
    tag: ET.Element, taxonomy: Taxonomy, keys: Iterator[str], *, numbered: bool
) -> None:
    chosen = colours(taxonomy)
    for i, name in enumerate(taxonomy.names):
        label = ET.SubElement(tag, "Label", value=name, background=chosen[name])
        if numbered:  # the server's own COCO and YOLO exports number the classes by it
            label.set("category", str(i))
        if key := next(keys, None):
            label.set("hotkey", key)


def _add_decision(view: ET.Element, question: str) -> None:
    ET.SubElement(view, "Header", value=_without_column(question), size="6")
    answers = ET.SubElement(
        view, "Choices", name=DECISION, toName=IMAGE, choice="single-radio", showInline="true"
    )
    for answer, key in _ANSWERS.items():
        ET.SubElement(answers, "Choice", value=answer, hotkey=key)


def _without_column(text: str) -> str:
    """Return a text that is only shown, with no dollar sign that a column could be read into."""
    return text.replace("$", "\N{FULLWIDTH DOLLAR SIGN}")


def _refuse_names(names: Sequence[str]) -> None:
    for name in names:
        if name != name.strip() or _COLUMN.search(name) or _UNPRINTABLE.search(name):
            raise LabelingError(
                f"Label Studio cannot keep a class called {name!r}: spaces at its ends, control "
                "characters and a dollar sign before a word are lost. Rename it in the taxonomy, "
                "and keep this name as a synonym."
            )


def _parsed(xml: str) -> ET.Element | str:
    if "<!" in re.sub(r"<!--.*?-->", "", xml, flags=re.DOTALL):
        return "The config declares a document type or entities, which no labeling config needs."
    try:
        return ET.fromstring(xml)  # noqa: S314 entities are what makes it unsafe, refused above
    except ET.ParseError as error:
        return f"The config is no XML: {error}."


def _named(view: ET.Element, tag: str, name: str) -> ET.Element | None:
    return next((one for one in view.iter(tag) if one.get("name") == name), None)


def _renamed(view: ET.Element, tag: str, name: str) -> str:
    """Say that a control is missing, and which one may be it under another name."""
    others = [repr(one.get("name")) for one in view.iter(tag)]
    if not others:
        return f"The config has no {tag} control. It needs one called {name!r}."
    return (
        f"No {tag} control is called {name!r}, so pre-annotations for it would not be shown. "
        f"Give {' or '.join(others)} that name again."
    )


def _lacks_image(view: ET.Element) -> list[str]:
    image = _named(view, "Image", IMAGE)
    if image is None:
        return [_renamed(view, "Image", IMAGE)]
    if image.get("value") != f"${IMAGE}":
        return [
            f"The image shows {image.get('value')!r}, but tasks keep their image in the column "
            f'{IMAGE!r}. Set value="${IMAGE}".'
        ]
    return []


def _lacks_target(tag: ET.Element) -> list[str]:
    if tag.get("toName") == IMAGE:
        return []
    return [f"The control {tag.get('name')!r} draws on {tag.get('toName')!r}, not on {IMAGE!r}."]


def _lacks_labels(tag: ET.Element, taxonomy: Taxonomy) -> list[str]:
    offered = _labels(tag)
    said = []
    for name in taxonomy.names:
        if name in offered:
            continue
        alike = [repr(one) for one in offered if taxonomy.canonical(one) == name]
        if alike:
            said.append(
                f"The control {tag.get('name')!r} calls {name!r} {' or '.join(alike)}: what is "
                "drawn is understood, but pre-annotations of this class would not be shown."
            )
        else:
            said.append(f"The control {tag.get('name')!r} has no label for the class {name!r}.")
    return said


def _labels(tag: ET.Element) -> list[str]:
    """Return the labels of a control as they come back: by alias where a label has one."""
    return [one.get("alias") or one.get("value") or "" for one in tag.iter("Label")]
