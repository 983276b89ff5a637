import re
import xml.etree.ElementTree as ET

import pytest

from curation.labeling import app_colours
from curation.labeling.label_studio import label_config
from curation.storage import schema


def test_label_studio_and_the_app_show_the_same_colours(roadwork):
    colours = label_config.colours(roadwork)
    shown = {
        one.get("value"): one.get("background")
        for one in ET.fromstring(label_config.labeling_config(roadwork)).iter("Label")
    }
    app = app_colours.scheme(roadwork, ["ground_truth", "consensus"])
    assert [one["path"] for one in app["fields"]] == ["ground_truth", "consensus"]
    for one in app["fields"]:
        assert {row["value"]: row["color"] for row in one["valueColors"]} == shown == colours
    assert len(set(colours.values())) == len(roadwork.names)
    assert all(re.fullmatch("#[0-9a-f]{6}", one) for one in colours.values())


@pytest.fixture
def declared(dataset, roadwork):
    schema.declare(dataset, roadwork)
    return dataset


def colours_of(dataset):
    dataset.reload()
    return {
        one["path"]: {row["value"]: row["color"] for row in one["valueColors"]}
        for one in dataset.app_config.color_scheme.fields
    }


def test_a_dataset_gets_them_once_and_fields_that_come_later_too(declared, roadwork):
    assert app_colours.show(declared, roadwork)
    assert not app_colours.show(declared, roadwork)
    assert colours_of(declared)[schema.GROUND_TRUTH] == label_config.colours(roadwork)
    schema.declare(declared, roadwork, ["yolo"])
    assert app_colours.show(declared, roadwork)
    assert colours_of(declared)["yolo"] == label_config.colours(roadwork)


def test_a_class_that_came_since_gets_its_colour(declared, roadwork, younger_roadwork):
    app_colours.show(declared, younger_roadwork)
    assert len(colours_of(declared)[schema.GROUND_TRUTH]) == 2
    assert app_colours.show(declared, roadwork)
    assert colours_of(declared)[schema.GROUND_TRUTH] == label_config.colours(roadwork)


CHOSEN = [
    pytest.param({"color_by": "value", "color_pool": ["#123456"]}, id="other colours"),
    pytest.param({"color_by": "field", "color_pool": ["#0072b2"]}, id="ours, by field"),
]


@pytest.mark.parametrize("chosen", CHOSEN)
def test_what_a_person_chose_stays(declared, roadwork, chosen):
    import fiftyone as fo

    declared.app_config.color_scheme = fo.ColorScheme(**chosen)
    declared.save()
    assert not app_colours.show(declared, roadwork)
    declared.reload()
    there = declared.app_config.color_scheme
    assert {"color_by": there.color_by, "color_pool": there.color_pool} == chosen
