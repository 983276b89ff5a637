import panel_dataset

from curation.presentation import cache, error_analysis, member_counts, refresh


def test_a_small_dataset_gets_colours_and_views(dataset):
    panel_dataset.fill(dataset, 10)
    assert "hardest" in refresh.after_stage(dataset.limit(3)), "a view will do, too"
    dataset.reload()
    assert dataset.app_config.color_scheme.color_by == "field"
    assert cache.read(dataset, member_counts.NAME) is None, "panels count it by themselves"
    assert refresh.after_stage(dataset) == []


def test_a_large_dataset_gets_its_figures_too(dataset, monkeypatch):
    monkeypatch.setattr(cache, "LIVE", 5)
    panel_dataset.fill(dataset, 10)
    panel_dataset.place(dataset)
    refresh.after_stage(dataset)
    found = member_counts.of(dataset)
    assert found is not None
    assert not found[1].stale
    assert "tags" in dataset.list_indexes()


def test_what_comparing_wrote_stands_in_a_group_of_its_own(dataset):
    panel_dataset.fill(dataset, 10, labeled=1.0)
    error_analysis.judge(dataset)
    for _ in range(2):
        refresh.after_stage(dataset)
    dataset.reload()
    groups = [one for one in dataset.app_config.sidebar_groups if one.name == "failures"]
    assert [one.paths for one in groups] == [list(error_analysis.WRITTEN)]


def test_a_dataset_without_predictions_is_left_as_it_is(dataset):
    assert refresh.after_stage(dataset) == []
    assert dataset.app_config.color_scheme is None
