import fiftyone as fo
import panel_dataset
import pytest

from curation.presentation import error_analysis, saved_views
from curation.storage import schema


@pytest.fixture(scope="module")
def finished(database):
    scenes = fo.Dataset()
    panel_dataset.fill(scenes, 60, labeled=1.0)
    error_analysis.compare(scenes)
    saved_views.save(scenes)
    yield scenes
    scenes.delete()


def test_all_views_are_saved(finished):
    assert {
        "hardest", "hallucinations", "disagreements", "false negatives far away", "night",
        "near duplicates",
    } <= set(finished.list_saved_views())  # fmt: skip


def test_views_contain_matching_samples(finished):
    def values(view, path):
        return finished.load_saved_view(view).values(path)

    hardest = values("hardest", "hardness")
    assert hardest == sorted(hardest, reverse=True)
    assert set(values("night", "time_of_day")) == {"night"}
    assert all(agreement < 0.65 for agreement in values("disagreements", "agreement"))
    assert all(values("hallucinations", "qwen_vl.contradicts"))
    far = values("false negatives far away", "far_missed_by")
    assert far
    assert all(schema.CONSENSUS in members for members in far)


def test_near_duplicates_are_found_by_tag(finished):
    some = finished.limit(2)
    some.tag_samples(schema.NEAR_DUPLICATE)
    assert len(finished.load_saved_view("near duplicates")) == 2
    some.untag_samples(schema.NEAR_DUPLICATE)


def test_view_is_saved_when_its_field_exists(dataset):
    assert saved_views.save(dataset) == []
    schema.declare_hardness(dataset)
    assert saved_views.save(dataset) == ["hardest"]
    assert saved_views.save(dataset) == []


def test_view_of_user_stays(dataset):
    dataset.save_view("hardest", dataset.limit(3))
    schema.declare_hardness(dataset)
    assert saved_views.save(dataset) == []
