import fiftyone as fo
import pytest

from cascade import taxonomy
from curation.labeling.label_studio import label_config
from curation.presentation import color_scheme
from curation.storage import queries, schema

TAXONOMY = taxonomy.load("roadwork_core")


@pytest.fixture
def declared(dataset):
    schema.declare(dataset, TAXONOMY, ["yolo", "detr"])
    queries.write_info(dataset, "taxonomy", {})
    dataset.info[schema.INFO] = {"taxonomy": TAXONOMY.to_yaml()}
    dataset.save()
    return dataset


LABELS = ["consensus", "detr", "ground_truth", "oracle", "yolo"]


def fields_of(dataset):
    dataset.reload()
    return {field["path"]: field for field in dataset.app_config.color_scheme.fields}


def test_members_keep_their_distinct_colors_when_others_are_added():
    two, three = color_scheme.member_colors(["a", "b"]), color_scheme.member_colors(["a", "b", "c"])
    assert three | two == three
    assert len(set(three.values())) == len(three)


def test_scheme_has_colors_of_members_and_classes(declared):
    assert color_scheme.write(declared, ["yolo", "detr"], LABELS)
    written = fields_of(declared)
    assert declared.app_config.color_scheme.color_by == "field"
    assert written["yolo"]["fieldColor"] != written["detr"]["fieldColor"]
    classes = {entry["value"]: entry["color"] for entry in written["yolo"]["valueColors"]}
    assert classes == label_config.class_colors(TAXONOMY), "as in Label Studio"


def test_writing_again_changes_nothing(declared):
    color_scheme.write(declared, ["yolo"], LABELS)
    declared.reload()
    assert not color_scheme.write(declared, ["yolo"], LABELS)


def test_later_member_gets_a_color(declared):
    color_scheme.write(declared, ["yolo"], ["ground_truth", "yolo"])
    assert color_scheme.write(declared, ["yolo", "detr"], LABELS)
    assert "detr" in fields_of(declared)


def test_scheme_of_user_stays(declared):
    declared.app_config.color_scheme = fo.ColorScheme(color_by="value", color_pool=["#ff0000"])
    declared.save()
    assert not color_scheme.write(declared, ["yolo"], LABELS)
    assert declared.app_config.color_scheme.color_pool == ["#ff0000"]


def test_class_colors_of_labeling_become_member_colors(declared):
    assert color_scheme.write_class_scheme(declared, TAXONOMY)
    assert color_scheme.write(declared, ["yolo", "detr"], LABELS)
    assert not color_scheme.write_class_scheme(declared, TAXONOMY), "labeling keeps ours"


def test_members_have_colors_without_taxonomy(dataset):
    assert color_scheme.write(dataset, ["a", "b"], ["a", "b"])
    assert {field["path"] for field in dataset.app_config.color_scheme.fields} == {"a", "b"}
