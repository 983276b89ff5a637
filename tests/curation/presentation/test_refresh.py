import panel_dataset
from fiftyone.core.odm.dataset import ActiveFields

from curation.presentation import cache, error_analysis, member_counts, refresh


def test_small_dataset_gets_colors_and_views(dataset):
    panel_dataset.fill(dataset, 10)
    assert "hardest" in refresh.after_stage(dataset.limit(3)), "a view is accepted, too"
    dataset.reload()
    assert dataset.app_config.color_scheme.color_by == "field"
    assert cache.read(dataset, member_counts.NAME) is None, "panels count on access"
    assert refresh.after_stage(dataset) == []


def test_large_dataset_gets_figures_too(dataset, monkeypatch):
    monkeypatch.setattr(cache, "MAX_LIVE_SAMPLES", 5)
    panel_dataset.fill(dataset, 10)
    panel_dataset.place(dataset)
    refresh.after_stage(dataset)
    entry = member_counts.read_counts(dataset)
    assert entry is not None
    assert not entry[1].stale
    assert "tags" in dataset.list_indexes()


def test_error_fields_have_their_own_sidebar_group(dataset):
    panel_dataset.fill(dataset, 10, labeled=1.0)
    error_analysis.compare(dataset)
    for _ in range(2):
        refresh.after_stage(dataset)
    dataset.reload()
    groups = [group for group in dataset.app_config.sidebar_groups if group.name == "failures"]
    assert [group.paths for group in groups] == [list(error_analysis.FIELDS)]


def test_dataset_without_predictions_is_unchanged(dataset):
    assert refresh.after_stage(dataset) == []
    assert dataset.app_config.color_scheme is None


def test_app_opens_with_ground_truth_and_consensus_only(dataset):
    panel_dataset.fill(dataset, 10, labeled=1.0)
    refresh.after_stage(dataset)
    dataset.reload()
    assert list(dataset.app_config.active_fields.paths) == ["ground_truth", "consensus"]


def test_active_fields_of_user_stay(dataset):
    panel_dataset.fill(dataset, 10)
    member = panel_dataset.MEMBERS[0]
    dataset.app_config.active_fields = ActiveFields(paths=[member])
    dataset.save()
    refresh.after_stage(dataset)
    dataset.reload()
    assert list(dataset.app_config.active_fields.paths) == [member]


def test_evaluation_compares_members_with_ground_truth(dataset):
    panel_dataset.fill(dataset, 10, labeled=1.0)
    assert "false negatives far away" in refresh.after_evaluation(dataset.limit(3))
    assert error_analysis.read_cells(dataset) is not None


def test_evaluation_without_ground_truth_refreshes_only(dataset):
    panel_dataset.fill(dataset, 10, labeled=0.0)
    assert "hardest" in refresh.after_evaluation(dataset)
    assert error_analysis.read_cells(dataset) is None
