"""Class colors, shared by Label Studio and the App."""

import re
import xml.etree.ElementTree as ET

import pytest

from cascade import taxonomy
from curation.labeling.label_studio import label_config
from curation.presentation import color_scheme
from curation.storage import schema

ROADWORK = taxonomy.load("roadwork_core")


def test_label_studio_and_app_use_the_same_colors():
    colors = label_config.class_colors(ROADWORK)
    config = {
        label.get("value"): label.get("background")
        for label in ET.fromstring(label_config.labeling_config(ROADWORK)).iter("Label")
    }
    scheme = color_scheme.class_scheme(ROADWORK, ["ground_truth", "consensus"])
    assert [field["path"] for field in scheme["fields"]] == ["ground_truth", "consensus"]
    for field in scheme["fields"]:
        assert {row["value"]: row["color"] for row in field["valueColors"]} == config == colors
    assert len(set(colors.values())) == len(ROADWORK.names)
    assert all(re.fullmatch("#[0-9a-f]{6}", color) for color in colors.values())


@pytest.fixture
def declared(dataset):
    schema.declare(dataset, ROADWORK)
    return dataset


def colors_of(dataset):
    dataset.reload()
    return {
        field["path"]: {row["value"]: row["color"] for row in field["valueColors"]}
        for field in dataset.app_config.color_scheme.fields
    }


def test_scheme_is_written_once_and_includes_later_fields(declared):
    assert color_scheme.write_class_scheme(declared, ROADWORK)
    assert not color_scheme.write_class_scheme(declared, ROADWORK)
    assert colors_of(declared)[schema.GROUND_TRUTH] == label_config.class_colors(ROADWORK)
    schema.declare(declared, ROADWORK, ["yolo"])
    assert color_scheme.write_class_scheme(declared, ROADWORK)
    assert colors_of(declared)["yolo"] == label_config.class_colors(ROADWORK)


def test_new_class_gets_its_color(declared):
    content = ROADWORK.model_dump()
    younger = type(ROADWORK).model_validate(content | {"classes": content["classes"][:2]})
    color_scheme.write_class_scheme(declared, younger)
    assert len(colors_of(declared)[schema.GROUND_TRUTH]) == 2
    assert color_scheme.write_class_scheme(declared, ROADWORK)
    assert colors_of(declared)[schema.GROUND_TRUTH] == label_config.class_colors(ROADWORK)


CHOSEN = [
    pytest.param({"color_by": "value", "color_pool": ["#123456"]}, id="other colors"),
    pytest.param({"color_by": "field", "color_pool": ["#0072b2"]}, id="ours, by field"),
]


@pytest.mark.parametrize("chosen", CHOSEN)
def test_scheme_of_user_is_kept(declared, chosen):
    import fiftyone as fo

    declared.app_config.color_scheme = fo.ColorScheme(**chosen)
    declared.save()
    assert not color_scheme.write_class_scheme(declared, ROADWORK)
    declared.reload()
    present = declared.app_config.color_scheme
    assert {"color_by": present.color_by, "color_pool": present.color_pool} == chosen
