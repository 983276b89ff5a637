"""Labeling config of a project: drawing controls, colors and hotkeys.

It relies on this behavior of Label Studio 1.23:

* The browser rotates an image upright by its EXIF, and percents refer to the upright image.
* A pre-annotation whose control or label is not in the config is silently skipped.
* A label without a hotkey gets one that may collide with a tool's; each label therefore has one.
* The default zoom, "fit", enlarges small images until their edges are out of sight; "auto" shows
  the whole image.
* A dollar sign followed by a word in a label is replaced by a column of the task.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling import palette

IMAGE = "image"  # name of the image in the config, and the task's column
BOX = "box"  # name of the control; results refer to it as `from_name`
BOX_TAG = "RectangleLabels"  # in lower case, the `type` of its results
DECISION = "decision"
COMMENT = "comment"
YES, NO = "yes", "no"

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_TOOLS = "behkmopruvw"  # single letters that Label Studio reserves for tools
_ANSWERS = {YES: "y", NO: "n"}
_FREE = [key for key in _LETTERS if key not in _TOOLS and key not in _ANSWERS.values()]
_HOTKEYS = (
    *"123456789",
    *_FREE,
    *(f"shift+{key}" for key in _LETTERS),
    *(f"shift+alt+{key}" for key in _LETTERS),
    *(f"ctrl+alt+{key}" for key in _LETTERS),
)
_COLUMN = re.compile(r"\$[\w\[\].{}]", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff]")


def class_colors(taxonomy: Taxonomy) -> dict[str, str]:
    """Return the color of each class as `#rrggbb`, for Label Studio and FiftyOne's App."""
    return dict(zip(taxonomy.names, palette.distinct_colors(len(taxonomy.names)), strict=True))


def labeling_config(taxonomy: Taxonomy) -> str:
    """Return the XML of a project for boxes of the classes and the question about the image.

    Raises:
        LabelingError: Label Studio cannot represent the name of a class.
    """
    _require_valid_names(taxonomy.names)
    view = ET.Element("View", style="display: flex; gap: 16px; align-items: flex-start")
    _add_image(ET.SubElement(view, "View", style="flex: 1 1 0; min-width: 0"))
    side = ET.SubElement(view, "View", style="flex: 0 0 230px; max-height: 85vh; overflow-y: auto")
    boxes = ET.SubElement(side, BOX_TAG, name=BOX, toName=IMAGE, canRotate="false", strokeWidth="2")
    _add_labels(boxes, taxonomy)
    _add_decision(side, taxonomy.decision.question)
    ET.SubElement(
        side, "TextArea", name=COMMENT, toName=IMAGE, maxSubmissions="1", editable="true",
        rows="2", placeholder="A comment, if something is unclear",
    )  # fmt: skip
    ET.indent(view)
    return ET.tostring(view, encoding="unicode")


def find_gaps(xml: str, taxonomy: Taxonomy) -> list[str]:
    """Return what a config edited by users lacks, which would lose pre-annotations or answers.

    Additional controls and labels are harmless: unknown labels become doubts.

    Args:
        xml: The config on the server.
        taxonomy: Classes that it should offer.

    Returns:
        Sentences; empty if nothing is missing.
    """
    view = _parse(xml)
    if isinstance(view, str):
        return [view]
    gaps = _image_gaps(view)
    boxes = _find(view, BOX_TAG, BOX)
    if boxes is None:
        gaps.append(_missing_control(view, BOX_TAG, BOX))
    else:
        gaps.extend(_target_gaps(boxes))
        gaps.extend(_label_gaps(boxes, taxonomy))
    question = _find(view, "Choices", DECISION)
    if question is None:
        gaps.append(_missing_control(view, "Choices", DECISION))
    else:
        offered = {choice.get("value") for choice in question.iter("Choice")}
        gaps.extend(
            f"The question {DECISION!r} has no answer {answer!r}."
            for answer in (YES, NO)
            if answer not in offered
        )
    return gaps


def _add_image(view: ET.Element) -> None:
    ET.SubElement(
        view, "Image", name=IMAGE, value=f"${IMAGE}", zoom="true", zoomControl="true",
        defaultZoom="auto", brightnessControl="true", contrastControl="true",
    )  # fmt: skip


def _add_labels(control: ET.Element, taxonomy: Taxonomy) -> None:
    colors = class_colors(taxonomy)
    for i, name in enumerate(taxonomy.names):
        label = ET.SubElement(control, "Label", value=name, background=colors[name])
        label.set("category", str(i))  # number of the class in the server's COCO and YOLO exports
        if i < len(_HOTKEYS):
            label.set("hotkey", _HOTKEYS[i])


def _add_decision(view: ET.Element, question: str) -> None:
    # A dollar sign in the text could be replaced by a column of the task.
    shown = question.replace("$", "\N{FULLWIDTH DOLLAR SIGN}")
    ET.SubElement(view, "Header", value=shown, size="6")
    choices = ET.SubElement(
        view, "Choices", name=DECISION, toName=IMAGE, choice="single-radio", showInline="true"
    )
    for answer, key in _ANSWERS.items():
        ET.SubElement(choices, "Choice", value=answer, hotkey=key)


def _require_valid_names(names: Sequence[str]) -> None:
    for name in names:
        if name != name.strip() or _COLUMN.search(name) or _UNPRINTABLE.search(name):
            raise LabelingError(
                f"Label Studio cannot represent a class called {name!r}: it drops spaces at both "
                "ends, control characters and a dollar sign before a word. Rename it in the "
                "taxonomy, and keep this name as a synonym."
            )


def _parse(xml: str) -> ET.Element | str:
    """Return the root element, or the reason why the config cannot be parsed."""
    if "<!" in re.sub(r"<!--.*?-->", "", xml, flags=re.DOTALL):
        return "The config declares a document type or entities, which are not allowed."
    try:
        return ET.fromstring(xml)  # noqa: S314 - entities, which are unsafe, are refused above
    except ET.ParseError as error:
        return f"The config is not valid XML: {error}."


def _find(view: ET.Element, tag: str, name: str) -> ET.Element | None:
    return next((control for control in view.iter(tag) if control.get("name") == name), None)


def _missing_control(view: ET.Element, tag: str, name: str) -> str:
    """Return a sentence about a missing control, with controls that may be it renamed."""
    others = [repr(control.get("name")) for control in view.iter(tag)]
    if not others:
        return f"The config has no {tag} control. It needs one called {name!r}."
    return (
        f"No {tag} control is called {name!r}, so pre-annotations for it would not be shown. "
        f"Rename {' or '.join(others)} back."
    )


def _image_gaps(view: ET.Element) -> list[str]:
    image = _find(view, "Image", IMAGE)
    if image is None:
        return [_missing_control(view, "Image", IMAGE)]
    if image.get("value") != f"${IMAGE}":
        return [
            f"The image shows {image.get('value')!r}, but the image column of tasks is "
            f'{IMAGE!r}. Set value="${IMAGE}".'
        ]
    return []


def _target_gaps(control: ET.Element) -> list[str]:
    name, target = control.get("name"), control.get("toName")
    return [] if target == IMAGE else [f"The control {name!r} draws on {target!r}, not {IMAGE!r}."]


def _label_gaps(control: ET.Element, taxonomy: Taxonomy) -> list[str]:
    # A label's alias, where it has one, is what results contain.
    offered = [label.get("alias") or label.get("value") or "" for label in control.iter("Label")]
    gaps = []
    for name in taxonomy.names:
        if name in offered:
            continue
        synonyms = [repr(label) for label in offered if taxonomy.canonical(label) == name]
        if synonyms:
            gaps.append(
                f"The control {control.get('name')!r} calls {name!r} {' or '.join(synonyms)}: "
                "drawn boxes are understood, but pre-annotations of this class would not be shown."
            )
        else:
            gaps.append(f"The control {control.get('name')!r} has no label for the class {name!r}.")
    return gaps
