"""Taxonomies: words, files, and the errors of wrong files."""

import numpy as np
import pytest
import yaml

from cascade import taxonomy
from cascade.errors import TaxonomyError
from cascade.models.exported.coco_classes import NAMES

TEXT = """
name: park
decision: {name: litter, question: "Is there litter?"}
classes:
  - name: cone
    synonyms: [traffic cone, Verkehrs-Hütchen]
    prompts: [an orange cone]
    decides: true
    height_m: [0.3, 1.1]
  - name: bin
    synonyms: [trash can]
"""
PARK = taxonomy.parse(TEXT)


def changed(**change):
    return yaml.safe_dump({**yaml.safe_load(TEXT), **change})


def one_class(**change):
    return changed(classes=[{"name": "cone", "decides": True, **change}])


WORDS = [
    pytest.param("cone", "cone", id="name"),
    pytest.param("Traffic_Cone", "cone", id="case and underscores"),
    pytest.param("traffic-cone", "cone", id="hyphen"),
    pytest.param("TRAFFICCONE", "cone", id="no space"),
    pytest.param("verkehrshütchen", "cone", id="umlaut"),
    pytest.param("trash can", "bin", id="synonym"),
    pytest.param("An orange cone", "cone", id="prompt"),
    pytest.param("cones", None, id="unknown word"),
    pytest.param("", None, id="empty word"),
]


@pytest.mark.parametrize(("word", "expected"), WORDS)
def test_canonical(word, expected):
    assert PARK.canonical(word) == expected


def test_names_vocabulary_and_ids():
    assert PARK.names == ("cone", "bin")
    assert PARK.deciding == ("cone",)
    assert PARK.vocabulary(["trash can", "tree", "cone"]) == ("cone", "bin")
    assert PARK.vocabulary([]) == ()
    assert PARK.ids_of(["bin", "tree", "cone", "traffic cone"]) == [1, -1, 0, 0]


WRONG = [
    pytest.param("classes: [", "is not valid YAML", id="invalid YAML"),
    pytest.param("", "top level", id="empty"),
    pytest.param("[]", "top level", id="list"),
    pytest.param(changed(colour="red"), "colour: Extra inputs", id="unknown key"),
    pytest.param(changed(classes=[]), "classes: .* at least 1", id="no classes"),
    pytest.param(changed(name="Bad Name"), "name: String should match", id="name with a space"),
    pytest.param(
        changed(decision={"name": "x", "question": ""}), "decision.question: ", id="no question"
    ),
    pytest.param(one_class(decides=False), "no class has `decides: true`", id="nothing decides"),
    pytest.param(
        one_class(height_m=[1.1, 0.3]),
        r"height_m must be in ascending order, got \[1.1, 0.3\]",
        id="descending height",
    ),
    pytest.param(
        one_class(width_m=[0.3, 0.3]), "width_m must be in ascending order", id="empty width range"
    ),
    pytest.param(
        one_class(height_m=[0, 1]), "classes.0.height_m.0: .* greater than 0", id="height of 0"
    ),
    pytest.param(
        changed(classes=[{"name": "cone", "decides": True}, {"name": "cone"}]),
        "two classes have the same name",
        id="duplicate name",
    ),
    pytest.param(
        changed(classes=[{"name": "cone", "decides": True}, {"name": "x", "synonyms": ["CONE"]}]),
        "'cone' names both 'cone' and 'x'",
        id="ambiguous synonym",
    ),
    pytest.param(
        changed(
            classes=[
                {"name": "cone", "decides": True, "prompts": ["orange thing"]},
                {"name": "fence", "synonyms": ["orange_thing"]},
            ]
        ),
        "'orangething' names both 'cone' and 'fence'",
        id="prompt equals a synonym",
    ),
    pytest.param(
        changed(
            classes=[
                {"name": "cone", "decides": True, "prompts": ["orange thing"]},
                {"name": "fence", "prompts": ["Orange thing"]},
            ]
        ),
        "'orangething' names both 'cone' and 'fence'",
        id="ambiguous prompt",
    ),
    pytest.param(
        changed(presets={"base": {"cones": {"width_m": [0.25, 0.4]}}}),
        "the preset 'base' names an unknown class 'cones'. Did you mean 'cone'",
        id="preset of an unknown class",
    ),
    pytest.param(
        changed(presets={"base": {"cone": {"width_m": [0.4, 0.25]}}}),
        "presets.base.cone: .*width_m must be in ascending order",
        id="descending preset",
    ),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_wrong_taxonomy_error_has_the_path(text, message):
    with pytest.raises(TaxonomyError, match=f"park.yaml: .*{message}|park.yaml {message}"):
        taxonomy.parse(text, origin="park.yaml")


@pytest.mark.parametrize("name", taxonomy.packaged_names())
def test_packaged_taxonomy_round_trip(name):
    packaged = taxonomy.load(name)
    assert packaged.name == name
    assert packaged.deciding
    assert taxonomy.parse(packaged.to_yaml()) == packaged
    assert taxonomy.parse(packaged.to_yaml()).identity == packaged.identity


@pytest.mark.parametrize("name", ["roadwork", "roadwork_core"])
def test_roadwork_sizes(name):
    sizes = {cls.name: cls.height_m for cls in taxonomy.load(name).classes}
    assert sizes["cone"] == (0.30, 1.10)
    assert sizes["drum"] == (0.85, 1.10)
    assert sizes["barricade"] == (0.80, 1.70)


def test_roadwork_refines_roadwork_core():
    roadwork, core = taxonomy.load("roadwork"), taxonomy.load("roadwork_core")
    assert roadwork.names[: len(core.names)] == core.names
    assert set(core.deciding) < set(roadwork.deciding)
    assert core.decision.name == roadwork.decision.name
    finer = {word: roadwork.canonical(word) for cls in core.classes for word in cls.synonyms}
    moved = {word: name for word, name in finer.items() if name != core.canonical(word)}
    assert moved == {
        "tubular marker": "tubular_marker",
        "arrow board": "arrow_board",
        "message board": "arrow_board",
    }


def test_every_roadwork_class_has_one_prompt_and_two_sizes():
    for cls in taxonomy.load("roadwork").classes:
        assert len(cls.prompts) == 1
        assert cls.height_m, cls.name
        assert cls.width_m, cls.name


# Labels of other datasets; None for labels without a class, which do not vote.
FOREIGN = {
    "COCO": {
        "person": "pedestrian",
        "car": "vehicle",
        "motorcycle": "vehicle",
        "bus": "vehicle",
        "truck": "vehicle",
        "traffic light": "traffic_light",
        "fire hydrant": "hydrant",
        "stop sign": "traffic_sign",
        "parking meter": "parking_meter",
        "bicycle": None,
        "bench": None,
    },
    "Objects365": {
        "Traffic cone": "cone",
        "Traffic Sign": "traffic_sign",
        "Speed Limit Sign": "traffic_sign",
        "Machinery Vehicle": "work_vehicle",
        "Crane": "work_vehicle",
        "Heavy Truck": "vehicle",
        "Pickup Truck": "vehicle",
        "Person": "pedestrian",
        "Trash bin Can": "trash_can",
        "Barrel/bucket": None,
    },
    "ROADWork": {
        "Cone": "cone",
        "Tubular Marker": "tubular_marker",
        "Vertical Panel": "vertical_panel",
        "Temporary Traffic Control Sign": "sign",
        "Temporary Traffic Control Message Board": "arrow_board",
        "Arrow Board": "arrow_board",
        "Work Vehicle": "work_vehicle",
        "Work Equipment": "equipment",
        "Police Officer": "police_officer",
        "Bike Lane": None,
    },
    "Argoverse 2": {
        "CONSTRUCTION_CONE": "cone",
        "CONSTRUCTION_BARREL": "drum",
        "BOLLARD": "bollard",
        "MESSAGE_BOARD_TRAILER": "arrow_board",
        "STOP_SIGN": "traffic_sign",
        "REGULAR_VEHICLE": "vehicle",
    },
    "photographs from the web": {
        "road-cone": "cone",
        "Safety Cone": "cone",
        "machinery": "work_vehicle",
        "barricade": "barricade",
        "isolation-pile": None,
    },
}


@pytest.mark.parametrize("dataset", FOREIGN)
def test_roadwork_maps_labels_of_other_datasets(dataset):
    roadwork = taxonomy.load("roadwork")
    assert {word: roadwork.canonical(word) for word in FOREIGN[dataset]} == FOREIGN[dataset]


def test_coco_labels_map_to_no_deciding_class():
    roadwork = taxonomy.load("roadwork")
    assert not set(roadwork.vocabulary(NAMES)) & set(roadwork.deciding)


def test_with_preset_changes_only_the_named_sizes():
    roadwork = taxonomy.load("roadwork")
    preset = roadwork.with_preset("cone_base_25_40cm")
    cone, other = roadwork.classes[0], preset.classes[0]
    assert (other.width_m, other.height_m) == ((0.25, 0.40), cone.height_m)
    assert preset.classes[1:] == roadwork.classes[1:]
    assert preset.identity != roadwork.identity
    with pytest.raises(TaxonomyError, match=r"has no preset 'cone_bas'\. Did you mean 'cone_base"):
        roadwork.with_preset("cone_bas")


def test_identity_depends_on_the_content():
    assert len(PARK.identity) == 16
    assert PARK.identity == taxonomy.parse(TEXT).identity
    assert PARK.identity != taxonomy.parse(changed(version=2)).identity


def test_load_file(tmp_path):
    file = tmp_path / "park.yaml"
    file.write_text(TEXT, encoding="utf-8")
    assert taxonomy.load(file) == PARK


MISSING = [
    pytest.param(
        "roadwerk",
        "No packaged taxonomy is named 'roadwerk'. Did you mean 'roadwork'",
        id="name",
    ),
    pytest.param("/no/such/park.yaml", "find the taxonomy file /no/such/park.yaml", id="file"),
]


@pytest.mark.parametrize(("source", "message"), MISSING)
def test_load_missing(source, message):
    with pytest.raises(TaxonomyError, match=message):
        taxonomy.load(source)


def test_from_labels():
    plain = taxonomy.from_labels("mine", ["Safety Cone", "no: hat", "bin"], ["Safety Cone"])
    assert plain.names == ("Safety Cone", "no: hat", "bin")
    assert plain.deciding == ("Safety Cone",)
    assert plain.decision.question == "Does this image show Safety Cone?"
    assert plain.ids_of(np.array(["bin", "safety-cone"])) == [2, 0]


LABELS = [
    pytest.param(["cone"], ["conee"], "No class is named 'conee'. Did you mean 'cone'", id="typo"),
    pytest.param(["cone"], [], "no class has `decides: true`", id="nothing decides"),
    pytest.param(["cone", "Cone"], ["cone"], "'cone' names both", id="two spellings"),
    pytest.param([], [], "classes: ", id="no labels"),
]


@pytest.mark.parametrize(("labels", "decides", "message"), LABELS)
def test_from_labels_with_inconsistent_labels_raises(labels, decides, message):
    with pytest.raises(TaxonomyError, match=message):
        taxonomy.from_labels("mine", labels, decides)
