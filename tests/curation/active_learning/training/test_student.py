from cascade import manifest
from cascade.checkpoints import licenses
from cascade.ensemble import Ensemble
from curation.active_learning.training import student
from curation.active_learning.training.student import Recipe

SMALL = Recipe(width=8, size=64)


def test_license_combines_recipe_and_teachers(center):
    assert student.license_expression(SMALL, None) == "MIT"
    assert student.license_expression(SMALL, center) == "Apache-2.0 AND MIT"


def test_alternative_licenses_of_teacher_stay(center):
    """Users of the teacher may choose a license; users of the student cannot."""
    content = center.manifest.model_dump()
    content["members"][1]["license"] = "MIT OR AGPL-3.0"
    either = Ensemble.from_manifest(manifest.Manifest.model_validate(content))
    expression = student.license_expression(SMALL, either)
    assert expression == "MIT AND (MIT OR AGPL-3.0)"
    assert licenses.kind(expression) == "copyleft"


def test_manifest_loads_with_custom_taxonomy(center, tmp_path):
    custom = center.taxonomy.model_copy(update={"name": "custom"})
    SMALL.build(custom.names, seed=1).save(tmp_path / "student")
    file = tmp_path / "student.yaml"
    student.write_manifest(file, tmp_path / "student", SMALL, licence="MIT", taxonomy=custom)
    loaded = Ensemble.from_manifest(file)
    assert loaded.detectors == ("student",)
    assert loaded.taxonomy == custom
    assert loaded.vocabulary("student") == custom.names
