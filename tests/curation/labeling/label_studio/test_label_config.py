"""The labeling config: what is in it, and what is said of one that users edited."""

import xml.etree.ElementTree as ET

import pytest

from cascade import taxonomy as taxonomies
from curation.errors import LabelingError
from curation.labeling.label_studio import label_config

ALL = ("boxes", "polygons", "masks", "points")
# Label Studio 1.23, libs/editor/src/core/settings/keymap: single letters, and combinations
TOOLS = {*"ohemkwprvbu", "[", "]", "shift+1", "shift+2", "alt+r", "alt+h", "alt+l", "alt+m"}


def of(*names, question="Is there?"):
    content = {
        "name": "things",
        "decision": {"name": "thing", "question": question},
        "classes": [{"name": name, "decides": True} for name in names],
    }
    return taxonomies.Taxonomy.model_validate(content)


def hotkeys(xml):
    return [
        one.get("hotkey") for one in ET.fromstring(xml).iter() if one.tag in ("Label", "Choice")
    ]


def test_boxes_of_every_class_can_be_drawn_on_the_image(roadwork):
    view = ET.fromstring(label_config.labeling_config(roadwork))
    image, box = view.find(".//Image"), view.find(".//RectangleLabels")
    assert (image.get("name"), image.get("value"), image.get("zoom")) == ("image", "$image", "true")
    assert image.get("defaultZoom") == "auto"  # with "fit", edges of small images are cut off
    assert (box.get("name"), box.get("toName")) == ("box", "image")
    assert [one.get("value") for one in box] == list(roadwork.names)
    assert [one.get("category") for one in box] == [str(i) for i in range(len(roadwork.names))]
    assert {one.get("name") for one in view.iter()} - {None} == {
        "image", "box", "decision", "comment",
    }  # fmt: skip


def test_label_studio_itself_takes_the_config(roadwork):
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    for kinds in [("boxes",), ALL]:
        interface.LabelInterface(label_config.labeling_config(roadwork, kinds=kinds)).validate()


def test_the_first_classes_have_the_digits_and_no_two_a_key():
    roadwork = taxonomies.load("roadwork")
    keys = hotkeys(label_config.labeling_config(roadwork, kinds=("boxes", "polygons")))
    assert keys[:11] == [*"123456789", "a", "c"]  # b is the brush
    assert len(set(keys)) == len(keys) == 2 * len(roadwork.names) + 2
    assert TOOLS.isdisjoint(keys)


def test_more_labels_than_keys_go_without_a_key():
    keys = hotkeys(label_config.labeling_config(of(*(f"c{i}" for i in range(200)))))
    assert keys[-3] is None
    given = [key for key in keys if key]
    assert len(set(given)) == len(given) == 102


def test_any_writing_comes_through():
    names = ("Leitkegel <groß>", '"cône" & co', "триколор", "円錐 🚧", "50 $", "a,b")
    xml = label_config.labeling_config(of(*names, question="Für $5?"))
    view = ET.fromstring(xml.encode())
    assert [one.get("value") for one in view.iter("Label")] == list(names)
    assert "$5" not in view.find(".//Header").get("value")
    assert label_config.check(xml, of(*names)) == []


@pytest.mark.parametrize("name", [" cone", "cone\t", "a $hardness cone", "${x}", "co\x07ne"])
def test_a_name_that_label_studio_would_change_is_refused(name):
    with pytest.raises(LabelingError, match="keep this name as a synonym"):
        label_config.labeling_config(of(name))


@pytest.mark.parametrize("kinds", [(), ("boxes", "boxes")])
def test_kinds_must_make_sense(kinds):
    with pytest.raises(LabelingError, match="each kind of region once"):
        label_config.labeling_config(of("cone"), kinds=kinds)


def test_our_own_config_lacks_nothing(roadwork):
    for kinds in [("boxes",), ("points", "boxes"), ALL]:
        for decision in (True, False):
            xml = label_config.labeling_config(roadwork, kinds=kinds, decision=decision)
            assert label_config.check(xml, roadwork, kinds=kinds, decision=decision) == []


EDITS = [
    pytest.param('value="cone"', 'value="kegel"', ["no label for the class 'cone'", "'kegel'"],
                 id="a class replaced by a word that means nothing"),
    pytest.param('value="cone"', 'value="traffic cone"', ["calls 'cone' 'traffic cone'"],
                 id="a class by a synonym"),
    pytest.param('value="cone"', 'value="cone" alias="traffic cone"', ["calls 'cone'"],
                 id="an alias is what comes back"),
    pytest.param('name="box"', 'name="bbox"', ["Give 'bbox' that name again", "control 'bbox'"],
                 id="the control renamed"),
    pytest.param('name="decision"', 'name="q"', ["Give 'q' that name again", "control 'q'"],
                 id="the question renamed"),
    pytest.param('value="no"', 'value="never"', ["no answer 'no'"], id="an answer renamed"),
    pytest.param('value="$image"', 'value="$url"', ['Set value="$image"'], id="another column"),
    pytest.param('Image name="image"', 'Image name="i"', ["Give 'i' that name again"],
                 id="the image renamed"),
    pytest.param('toName="image"', 'toName="other"', ["draws on 'other'"], id="another image"),
    pytest.param("<View style", "<View <", ["is no XML"], id="no XML at all"),
    pytest.param("<View style", '<!DOCTYPE x [<!ENTITY a "b">]><View style', ["document type"],
                 id="entities"),
    pytest.param("</RectangleLabels>", '<Label value="dragon"/></RectangleLabels>',
                 ["also has the label 'dragon'"], id="a further label"),
    pytest.param("</View>", '<Rating name="r" toName="image"/></View>', ["also has a control 'r'"],
                 id="a further control"),
    pytest.param("<View style", "<!-- for the night shift --><View style", [], id="a comment"),
    pytest.param('background="#0072b2"', 'background="red"', [], id="a colour is taste"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), EDITS)
def test_an_edit_is_told_in_words(old, new, said):
    taxonomy = taxonomies.load("roadwork_core")
    xml = label_config.labeling_config(taxonomy)
    assert old in xml
    found = label_config.check(xml.replace(old, new, 1), taxonomy)
    assert len(found) == len(said)
    assert all(part in sentence for part, sentence in zip(said, found, strict=True))


def test_a_control_that_is_gone_is_missed():
    taxonomy = of("cone")
    assert label_config.check('<View><Image name="image" value="$image"/></View>', taxonomy) == [
        "The config has no RectangleLabels control. It needs one called 'box'.",
        "The config has no Choices control. It needs one called 'decision'.",
    ]


def test_what_is_further_does_no_harm():
    taxonomy = of("cone")
    xml = label_config.labeling_config(taxonomy, kinds=("boxes", "masks"))
    assert label_config.lacks(xml, taxonomy) == []
    assert label_config.extras(xml, taxonomy) == ["It also has a control 'mask' (BrushLabels)."]
