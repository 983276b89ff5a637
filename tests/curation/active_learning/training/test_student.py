from cascade import manifest
from cascade.checkpoints import licenses
from cascade.ensemble import Ensemble
from curation.active_learning.training import student
from curation.active_learning.training.student import Recipe

SMALL = Recipe(width=8, size=64)


def test_its_licence_is_that_of_all_who_taught_it(center):
    assert student.license_expression(SMALL, None) == "MIT"
    assert student.license_expression(SMALL, center) == "Apache-2.0 AND MIT"


def test_of_alternatives_the_strictest_holds(center):
    """A user of the teacher may choose; who is given the student cannot."""
    content = center.manifest.model_dump()
    content["members"][1]["license"] = "MIT OR AGPL-3.0"
    either = Ensemble.from_manifest(manifest.Manifest.model_validate(content))
    said = student.license_expression(SMALL, either)
    assert said == "MIT AND (MIT OR AGPL-3.0)"
    assert licenses.kind(said) == "copyleft"


def test_its_manifest_can_be_loaded_with_a_taxonomy_of_ones_own(center, tmp_path):
    own = center.taxonomy.model_copy(update={"name": "own"})
    SMALL.build(own.names, seed=1).save(tmp_path / "student")
    file = tmp_path / "student.yaml"
    student.write_manifest(file, tmp_path / "student", SMALL, licence="MIT", taxonomy=own)
    loaded = Ensemble.from_manifest(file)
    assert loaded.detectors == ("student",)
    assert loaded.taxonomy == own
    assert loaded.vocabulary("student") == own.names
