import fiftyone as fo
import pytest

from cascade import taxonomy
from curation.labeling import app_colours
from curation.labeling.label_studio import label_config
from curation.presentation import color_scheme
from curation.storage import queries, schema

TAXONOMY = taxonomy.load("roadwork_core")


@pytest.fixture
def declared(dataset):
    schema.declare(dataset, TAXONOMY, ["yolo", "detr"])
    queries.write_info(dataset, "taxonomy", {})
    dataset.info[schema.INFO] = {"taxonomy": taxonomy.to_yaml(TAXONOMY)}
    dataset.save()
    return dataset


LABELS = ["consensus", "detr", "ground_truth", "oracle", "yolo"]


def of_fields(dataset):
    dataset.reload()
    return {one["path"]: one for one in dataset.app_config.color_scheme.fields}


def test_members_have_colours_of_their_own_and_keep_them_when_others_come():
    two, three = color_scheme.by_member(["a", "b"]), color_scheme.by_member(["a", "b", "c"])
    assert three | two == three
    assert len(set(three.values())) == len(three)


def test_the_scheme_tells_members_apart_and_knows_the_colours_of_the_classes(declared):
    assert color_scheme.write(declared, ["yolo", "detr"], LABELS)
    written = of_fields(declared)
    assert declared.app_config.color_scheme.color_by == "field"
    assert written["yolo"]["fieldColor"] != written["detr"]["fieldColor"]
    classes = {one["value"]: one["color"] for one in written["yolo"]["valueColors"]}
    assert classes == label_config.colours(TAXONOMY), "as in Label Studio"


def test_writing_it_again_changes_nothing(declared):
    color_scheme.write(declared, ["yolo"], LABELS)
    declared.reload()
    assert not color_scheme.write(declared, ["yolo"], LABELS)


def test_a_member_that_comes_later_gets_its_colour(declared):
    color_scheme.write(declared, ["yolo"], ["ground_truth", "yolo"])
    assert color_scheme.write(declared, ["yolo", "detr"], LABELS)
    assert "detr" in of_fields(declared)


def test_what_the_user_chose_stays(declared):
    declared.app_config.color_scheme = fo.ColorScheme(color_by="value", color_pool=["#ff0000"])
    declared.save()
    assert not color_scheme.write(declared, ["yolo"], LABELS)
    assert declared.app_config.color_scheme.color_pool == ["#ff0000"]


def test_colours_of_classes_alone_that_labeling_gave_become_colours_of_members(declared):
    assert app_colours.show(declared, TAXONOMY)
    assert color_scheme.write(declared, ["yolo", "detr"], LABELS)
    assert not app_colours.show(declared, TAXONOMY), "labeling leaves ours"


def test_without_a_taxonomy_members_still_have_colours(dataset):
    assert color_scheme.write(dataset, ["a", "b"], ["a", "b"])
    assert {one["path"] for one in dataset.app_config.color_scheme.fields} == {"a", "b"}
