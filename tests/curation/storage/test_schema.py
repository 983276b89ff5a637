"""Declared fields of a dataset, and its sidebar."""

import fiftyone as fo
import pytest

from cascade import taxonomy
from curation.storage import schema as fields

TAXONOMY = taxonomy.load("roadwork")


def test_declare_adds_all_fields_and_indexes(dataset):
    fields.declare(dataset, TAXONOMY, ["tiny"])
    schema = dataset.get_field_schema(flat=True)
    assert schema["tiny.detections.score"].__class__ is fo.FloatField
    assert schema["tiny.fingerprint"].__class__ is fo.StringField
    assert schema["consensus.detections.members"].field.__class__ is fo.StringField
    assert schema["roadwork"].document_type is fo.Classification
    assert schema["failures.message"].__class__ is fo.StringField
    assert schema["hardness"].description.startswith("How much")
    assert {"hardness", "split", "drive"} <= set(dataset.list_indexes())


def test_all_field_constants_are_declared(dataset):
    fields.declare(dataset, TAXONOMY)
    fields.declare_adjudication(dataset)
    no_fields = {
        "DUPLICATE", "NEAR_DUPLICATE", "LABEL_PROBLEM",
        "SIMILARITY", "UMAP", "FINGERPRINT", "COSTS", "PUSHED",
    }  # fmt: skip
    named = {
        value
        for name, value in vars(fields).items()
        if name.isupper() and isinstance(value, str) and name not in no_fields
        and not name.startswith("_") and "INFO" not in name and name != "INFO"
    }  # fmt: skip
    assert named <= set(dataset.get_field_schema())


def test_declare_is_idempotent_and_adds_members(dataset):
    fields.declare(dataset, TAXONOMY, ["a"])
    before = dataset.app_config.to_dict()
    fields.declare(dataset, TAXONOMY, ["a"])
    assert dataset.app_config.to_dict() == before
    fields.declare(dataset, TAXONOMY, ["b"])
    assert paths_of(dataset, "detection") == ["a", "b"]


def test_declare_hardness_alone(dataset):
    dataset.add_sample(fo.Sample(filepath="/a.jpg", theirs=fo.Detections()))
    fields.declare_hardness(dataset)
    assert fields.HARDNESS in dataset.get_field_schema()
    assert fields.CONSENSUS not in dataset.get_field_schema()


def test_groups_of_user_stay(dataset):
    dataset.app_config.sidebar_groups = [
        fo.SidebarGroupDocument(name="mine", paths=["tags", "split"], expanded=False)
    ]
    dataset.save()
    fields.declare(dataset, TAXONOMY)
    mine = dataset.app_config.sidebar_groups[0]
    assert (mine.name, mine.paths, mine.expanded) == ("mine", ["tags"], False)
    assert fields.SPLIT in paths_of(dataset, "slices")


def paths_of(dataset, name):
    return next(group.paths for group in dataset.app_config.sidebar_groups if group.name == name)


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        pytest.param([], [], id="no other groups"),
        pytest.param([("x", ["y"])], [("x", ["y"])], id="other group comes first"),
        pytest.param([("x", ["hardness"])], [], id="emptied group is dropped"),
    ],
)
def test_existing_groups_come_first(existing, expected):
    arranged = fields.sidebar_groups(TAXONOMY, ["m"], existing)
    ours = [name for name, _ in arranged[len(expected) :]]
    assert arranged[: len(expected)] == expected
    assert ours == [
        "ground truth", "detection", "consensus", "hardness", "choice", "slices", "records",
    ]  # fmt: skip
