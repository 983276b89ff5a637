"""Taxonomies: words, files, and everything that a wrong file is told."""

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
    pytest.param("cone", "cone", id="its name"),
    pytest.param("Traffic_Cone", "cone", id="case and underscores do not count"),
    pytest.param("traffic-cone", "cone", id="nor hyphens"),
    pytest.param("TRAFFICCONE", "cone", id="nor spaces"),
    pytest.param("verkehrshütchen", "cone", id="nor the letters of other languages"),
    pytest.param("trash can", "bin", id="a synonym"),
    pytest.param("An orange cone", "cone", id="a prompt, as an open-vocabulary member repeats it"),
    pytest.param("cones", None, id="another word means nothing"),
    pytest.param("", None, id="no word means nothing"),
]


@pytest.mark.parametrize(("word", "expected"), WORDS)
def test_canonical(word, expected):
    assert PARK.canonical(word) == expected


def test_words_become_classes_in_the_order_of_the_taxonomy():
    assert PARK.names == ("cone", "bin")
    assert PARK.deciding == ("cone",)
    assert PARK.vocabulary(["trash can", "tree", "cone"]) == ("cone", "bin")
    assert PARK.vocabulary([]) == ()
    assert PARK.ids_of(["bin", "tree", "cone", "traffic cone"]) == [1, -1, 0, 0]


WRONG = [
    pytest.param("classes: [", "is no YAML", id="no YAML"),
    pytest.param("", "top level", id="empty"),
    pytest.param("[]", "top level", id="a list"),
    pytest.param(changed(colour="red"), "colour: Extra inputs", id="an unknown key"),
    pytest.param(changed(classes=[]), "classes: .* at least 1", id="no classes"),
    pytest.param(changed(name="Bad Name"), "name: String should match", id="a name with a space"),
    pytest.param(
        changed(decision={"name": "x", "question": ""}), "decision.question: ", id="no question"
    ),
    pytest.param(one_class(decides=False), "no class has `decides: true`", id="nothing decides"),
    pytest.param(one_class(height_m=[1.1, 0.3]), r"height_m must ascend, got \[1.1, 0.3\]", id="h"),
    pytest.param(one_class(width_m=[0.3, 0.3]), "width_m must ascend", id="no width at all"),
    pytest.param(one_class(height_m=[0, 1]), "classes.0.height_m.0: .* greater than 0", id="flat"),
    pytest.param(
        changed(classes=[{"name": "cone", "decides": True}, {"name": "cone"}]),
        "two classes have the same name",
        id="the same name twice",
    ),
    pytest.param(
        changed(classes=[{"name": "cone", "decides": True}, {"name": "x", "synonyms": ["CONE"]}]),
        "'cone' names both 'cone' and 'x'",
        id="one word for two classes",
    ),
    pytest.param(
        changed(
            classes=[
                {"name": "cone", "decides": True, "prompts": ["orange thing"]},
                {"name": "fence", "synonyms": ["orange_thing"]},
            ]
        ),
        "'orangething' names both 'cone' and 'fence'",
        id="a prompt that is another class's synonym",
    ),
    pytest.param(
        changed(
            classes=[
                {"name": "cone", "decides": True, "prompts": ["orange thing"]},
                {"name": "fence", "prompts": ["Orange thing"]},
            ]
        ),
        "'orangething' names both 'cone' and 'fence'",
        id="one prompt for two classes",
    ),
    pytest.param(
        changed(presets={"base": {"cones": {"width_m": [0.25, 0.4]}}}),
        "the preset 'base' names no class by 'cones'. Did you mean 'cone'",
        id="a preset of a class that is not there",
    ),
    pytest.param(
        changed(presets={"base": {"cone": {"width_m": [0.4, 0.25]}}}),
        "presets.base.cone: .*width_m must ascend",
        id="a preset that descends",
    ),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_wrong_file_is_told_where(text, message):
    with pytest.raises(TaxonomyError, match=f"park.yaml: .*{message}|park.yaml {message}"):
        taxonomy.parse(text, origin="park.yaml")


@pytest.mark.parametrize("name", taxonomy.packaged_names())
def test_every_packaged_taxonomy_is_whole_and_round_trips(name):
    packaged = taxonomy.load(name)
    assert packaged.name == name
    assert packaged.deciding
    assert taxonomy.parse(taxonomy.to_yaml(packaged)) == packaged
    assert taxonomy.parse(taxonomy.to_yaml(packaged)).identity == packaged.identity


@pytest.mark.parametrize("name", ["roadwork", "roadwork_core"])
def test_roadwork_has_the_sizes_of_the_design(name):
    sizes = {one.name: one.height_m for one in taxonomy.load(name).classes}
    assert sizes["cone"] == (0.30, 1.10)
    assert sizes["drum"] == (0.85, 1.10)
    assert sizes["barricade"] == (0.80, 1.70)


def test_roadwork_tells_apart_what_its_core_lumps_together():
    roadwork, core = taxonomy.load("roadwork"), taxonomy.load("roadwork_core")
    assert roadwork.names[: len(core.names)] == core.names
    assert set(core.deciding) < set(roadwork.deciding)
    assert core.decision.name == roadwork.decision.name
    finer = {word: roadwork.canonical(word) for one in core.classes for word in one.synonyms}
    moved = {word: name for word, name in finer.items() if name != core.canonical(word)}
    assert moved == {
        "tubular marker": "tubular_marker",
        "arrow board": "arrow_board",
        "message board": "arrow_board",
    }


def test_every_class_of_roadwork_has_one_prompt_and_two_sizes():
    for one in taxonomy.load("roadwork").classes:
        assert len(one.prompts) == 1
        assert one.height_m, one.name
        assert one.width_m, one.name


# Names as the data sets spell them; None: nothing here, so that nobody votes with it.
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


@pytest.mark.parametrize("whose", FOREIGN)
def test_roadwork_knows_what_others_call_things(whose):
    roadwork = taxonomy.load("roadwork")
    assert {word: roadwork.canonical(word) for word in FOREIGN[whose]} == FOREIGN[whose]


def test_who_knows_only_coco_can_name_nothing_that_decides():
    roadwork = taxonomy.load("roadwork")
    assert not set(roadwork.vocabulary(NAMES)) & set(roadwork.deciding)


def test_a_preset_changes_the_sizes_that_it_names_and_nothing_else():
    roadwork = taxonomy.load("roadwork")
    preset = roadwork.with_preset("cone_base_25_40cm")
    cone, other = roadwork.classes[0], preset.classes[0]
    assert (other.width_m, other.height_m) == ((0.25, 0.40), cone.height_m)
    assert preset.classes[1:] == roadwork.classes[1:]
    assert preset.identity != roadwork.identity
    with pytest.raises(TaxonomyError, match=r"has no preset 'cone_bas'\. Did you mean 'cone_base"):
        roadwork.with_preset("cone_bas")


def test_the_identity_follows_the_content():
    assert len(PARK.identity) == 16
    assert PARK.identity == taxonomy.parse(TEXT).identity
    assert PARK.identity != taxonomy.parse(changed(version=2)).identity


def test_a_file_is_loaded(tmp_path):
    file = tmp_path / "park.yaml"
    file.write_text(TEXT, encoding="utf-8")
    assert taxonomy.load(file) == PARK


MISSING = [
    pytest.param("roadwerk", "No taxonomy is named 'roadwerk'. Did you mean 'roadwork'", id="name"),
    pytest.param("/no/such/park.yaml", "no taxonomy file at /no/such/park.yaml", id="file"),
]


@pytest.mark.parametrize(("source", "message"), MISSING)
def test_what_is_not_there_is_told(source, message):
    with pytest.raises(TaxonomyError, match=message):
        taxonomy.load(source)


def test_labels_make_a_plain_taxonomy():
    made = taxonomy.from_labels("mine", ["Safety Cone", "no: hat", "bin"], ["Safety Cone"])
    assert made.names == ("Safety Cone", "no: hat", "bin")
    assert made.deciding == ("Safety Cone",)
    assert made.decision.question == "Does this image show Safety Cone?"
    assert made.ids_of(np.array(["bin", "safety-cone"])) == [2, 0]


LABELS = [
    pytest.param(["cone"], ["conee"], "No class is named 'conee'. Did you mean 'cone'", id="typo"),
    pytest.param(["cone"], [], "no class has `decides: true`", id="nothing decides"),
    pytest.param(["cone", "Cone"], ["cone"], "'cone' names both", id="two spellings of one"),
    pytest.param([], [], "classes: ", id="no labels"),
]


@pytest.mark.parametrize(("labels", "decides", "message"), LABELS)
def test_labels_that_make_no_taxonomy_are_refused(labels, decides, message):
    with pytest.raises(TaxonomyError, match=message):
        taxonomy.from_labels("mine", labels, decides)
