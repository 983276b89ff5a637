"""Taxonomies: words, files, and everything that a wrong file is told."""

import numpy as np
import pytest
import yaml

from cascade import taxonomy
from cascade.errors import TaxonomyError

TEXT = """
name: park
decision: {name: litter, question: "Is there litter?"}
classes:
  - name: cone
    synonyms: [traffic cone, Verkehrs-Hütchen]
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


def test_roadwork_has_the_sizes_of_the_design():
    sizes = {one.name: one.height_m for one in taxonomy.load("roadwork").classes}
    assert sizes["cone"] == (0.30, 1.10)
    assert sizes["drum"] == (0.85, 1.10)
    assert sizes["barricade"] == (0.80, 1.70)


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
