"""Labeling config: content, and gaps after edits by users."""

import xml.etree.ElementTree as ET

import pytest

from cascade.taxonomy import Taxonomy, load
from curation.errors import LabelingError
from curation.labeling.label_studio import label_config

# Label Studio 1.23, libs/editor/src/core/settings/keymap: single letters, and combinations
TOOLS = {*"ohemkwprvbu", "[", "]", "shift+1", "shift+2", "alt+r", "alt+h", "alt+l", "alt+m"}


def of(*names, question="Is there?"):
    content = {
        "name": "things",
        "decision": {"name": "thing", "question": question},
        "classes": [{"name": name, "decides": True} for name in names],
    }
    return Taxonomy.model_validate(content)


def hotkeys(xml):
    return [
        tag.get("hotkey") for tag in ET.fromstring(xml).iter() if tag.tag in ("Label", "Choice")
    ]


def test_boxes_of_every_class_can_be_drawn(roadwork):
    view = ET.fromstring(label_config.labeling_config(roadwork))
    image, box = view.find(".//Image"), view.find(".//RectangleLabels")
    assert (image.get("name"), image.get("value"), image.get("zoom")) == ("image", "$image", "true")
    assert image.get("defaultZoom") == "auto"  # "fit" hides the edges of small images
    assert (box.get("name"), box.get("toName")) == ("box", "image")
    assert [label.get("value") for label in box] == list(roadwork.names)
    assert [label.get("category") for label in box] == [str(i) for i in range(len(roadwork.names))]
    assert {tag.get("name") for tag in view.iter()} - {None} == {
        "image", "box", "decision", "comment",
    }  # fmt: skip


def test_config_is_valid_for_label_studio(roadwork):
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    interface.LabelInterface(label_config.labeling_config(roadwork)).validate()


def test_hotkeys_are_unique_and_start_with_digits():
    roadwork = load("roadwork")
    keys = hotkeys(label_config.labeling_config(roadwork))
    assert keys[:11] == [*"123456789", "a", "c"]  # b is the brush
    assert len(set(keys)) == len(keys) == len(roadwork.names) + 2
    assert TOOLS.isdisjoint(keys)


def test_labels_beyond_the_hotkeys_have_none():
    keys = hotkeys(label_config.labeling_config(of(*(f"c{i}" for i in range(200)))))
    assert keys[-3] is None
    assigned = [key for key in keys if key]
    assert len(set(assigned)) == len(assigned) == 102


def test_any_script_is_preserved():
    names = ("Leitkegel <groß>", '"cône" & co', "триколор", "円錐 🚧", "50 $", "a,b")
    xml = label_config.labeling_config(of(*names, question="Für $5?"))
    view = ET.fromstring(xml.encode())
    assert [label.get("value") for label in view.iter("Label")] == list(names)
    assert "$5" not in view.find(".//Header").get("value")
    assert label_config.find_gaps(xml, of(*names)) == []


@pytest.mark.parametrize("name", [" cone", "cone\t", "a $hardness cone", "${x}", "co\x07ne"])
def test_name_that_label_studio_would_change_is_rejected(name):
    with pytest.raises(LabelingError, match="keep this name as a synonym"):
        label_config.labeling_config(of(name))


def test_own_config_has_no_gaps(roadwork):
    assert label_config.find_gaps(label_config.labeling_config(roadwork), roadwork) == []


EDITS = [
    pytest.param('value="cone"', 'value="kegel"', ["no label for the class 'cone'"],
                 id="a class replaced by an unknown label"),
    pytest.param('value="cone"', 'value="traffic cone"', ["calls 'cone' 'traffic cone'"],
                 id="a class replaced by a synonym"),
    pytest.param('value="cone"', 'value="cone" alias="traffic cone"', ["calls 'cone'"],
                 id="an alias, which results contain"),
    pytest.param('name="box"', 'name="bbox"', ["Rename 'bbox' back"],
                 id="the control renamed"),
    pytest.param('name="decision"', 'name="q"', ["Rename 'q' back"],
                 id="the question renamed"),
    pytest.param('value="no"', 'value="never"', ["no answer 'no'"], id="an answer renamed"),
    pytest.param('value="$image"', 'value="$url"', ['Set value="$image"'], id="another column"),
    pytest.param('Image name="image"', 'Image name="i"', ["Rename 'i' back"],
                 id="the image renamed"),
    pytest.param('toName="image"', 'toName="other"', ["draws on 'other'"], id="another image"),
    pytest.param("<View style", "<View <", ["is not valid XML"], id="not XML"),
    pytest.param("<View style", '<!DOCTYPE x [<!ENTITY a "b">]><View style', ["document type"],
                 id="entities"),
    pytest.param("</RectangleLabels>", '<Label value="dragon"/></RectangleLabels>',
                 [], id="an additional label"),
    pytest.param("</View>", '<Rating name="r" toName="image"/></View>', [],
                 id="an additional control"),
    pytest.param("<View style", "<!-- for the night shift --><View style", [], id="a comment"),
    pytest.param('background="#0072b2"', 'background="red"', [], id="another color"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), EDITS)
def test_edits_are_reported_as_gaps(old, new, expected):
    taxonomy = load("roadwork_core")
    xml = label_config.labeling_config(taxonomy)
    assert old in xml
    gaps = label_config.find_gaps(xml.replace(old, new, 1), taxonomy)
    assert len(gaps) == len(expected)
    assert all(part in gap for part, gap in zip(expected, gaps, strict=True))


def test_missing_controls_are_reported():
    taxonomy = of("cone")
    assert label_config.find_gaps(
        '<View><Image name="image" value="$image"/></View>', taxonomy
    ) == [
        "The config has no RectangleLabels control. It needs one called 'box'.",
        "The config has no Choices control. It needs one called 'decision'.",
    ]
