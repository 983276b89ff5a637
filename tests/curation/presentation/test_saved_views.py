import fiftyone as fo
import panel_dataset
import pytest

from curation.presentation import error_analysis, saved_views
from curation.storage import schema


@pytest.fixture(scope="module")
def finished(database):
    made = fo.Dataset()
    panel_dataset.fill(made, 60, labeled=1.0)
    error_analysis.judge(made)
    saved_views.save(made)
    yield made
    made.delete()


def test_every_view_that_people_ask_for_is_there(finished):
    assert {
        "hardest", "hallucinations", "disagreements", "false negatives far away", "night",
        "near duplicates",
    } <= set(finished.list_saved_views())  # fmt: skip


def test_they_show_what_they_say(finished):
    def values(view, path):
        return finished.load_saved_view(view).values(path)

    hardest = values("hardest", "hardness")
    assert hardest == sorted(hardest, reverse=True)
    assert set(values("night", "time_of_day")) == {"night"}
    assert all(one < 0.65 for one in values("disagreements", "agreement"))
    assert all(values("hallucinations", "qwen_vl.contradicts"))
    far = values("false negatives far away", "far_missed_by")
    assert far
    assert all(schema.CONSENSUS in one for one in far)


def test_near_duplicates_are_those_that_choosing_left_out(finished):
    some = finished.limit(2)
    some.tag_samples(schema.NEAR_DUPLICATE)
    assert len(finished.load_saved_view("near duplicates")) == 2
    some.untag_samples(schema.NEAR_DUPLICATE)


def test_a_view_comes_when_what_it_shows_is_there(dataset):
    assert saved_views.save(dataset) == []
    schema.declare_hardness(dataset)
    assert saved_views.save(dataset) == ["hardest"]
    assert saved_views.save(dataset) == []


def test_a_view_of_the_user_stays(dataset):
    dataset.save_view("hardest", dataset.limit(3))
    schema.declare_hardness(dataset)
    assert saved_views.save(dataset) == []
