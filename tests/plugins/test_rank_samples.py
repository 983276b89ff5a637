import numpy as np
import pytest

from curation.storage.embeddings import brain_runs
from curation.storage.embeddings.table import VectorTable

SCORE = "rank_samples/score_hardness"
CHOOSE = "rank_samples/choose_samples"


def test_score_ranks_existing_predictions_without_a_model(execute, compared):
    outcome = execute(SCORE, compared, members=["yolo", "detr"])
    assert outcome.error_message is None
    assert outcome.result["scored"] == outcome.result["ranked"] == 3
    agree, unsure, disagree = compared.values("hardness")
    assert agree < unsure < disagree


def test_default_members_are_all_predictions(execute, compared):
    outcome = execute(SCORE, compared)
    assert list(outcome.result["members"]) == ["detr", "yolo"]


def test_app_shows_the_result(execute, compared):
    outcome = execute(SCORE, compared)
    requests = outcome.executor.to_json()["requests"]
    assert [request["operator_uri"] for request in requests] == [
        "reload_dataset",
        "set_view",
        "notify",
    ]
    assert "hardness" in str(requests[1]["params"]["view"])
    assert "ranked by 2 members" in requests[2]["params"]["message"]


def test_queued_run_writes_the_same_and_reports_progress(execute, compared):
    from fiftyone.operators.delegated import DelegatedOperationService

    queued = execute(SCORE, compared, delegate=True)
    assert queued.delegated
    service = DelegatedOperationService()
    service.execute_operation(service.get(queued.result["id"]))
    done = service.get(queued.result["id"])
    assert done.run_state == "completed"
    assert done.status.progress == 1.0
    assert None not in compared.values("hardness")


def test_expected_error_is_one_line(execute, compared):
    from fiftyone.operators.executor import ExecutionError

    with pytest.raises(
        ExecutionError, match=r"Unknown field 'no_such_field'.*Known: detr, yolo"
    ) as raised:
        execute(SCORE, compared, members=["yolo", "no_such_field"])
    assert "\n" not in str(raised.value)


def test_form_offers_the_predictions(form, compared):
    members = form(SCORE, compared)["members"]
    assert [choice.value for choice in members.view.choices] == ["detr", "yolo"]
    assert members.default == ["detr", "yolo"]
    assert not members.required


def test_form_rejects_dataset_without_predictions(form, dataset):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/a.jpg"))
    problem = form(SCORE, dataset)["problem_1"]
    assert problem.invalid
    assert "no field with predicted boxes" in problem.view.description


def test_form_proposes_the_next_round(form, compared):
    assert form(CHOOSE, compared)["round_number"].default == 1
    compared.limit(1).tag_samples("round-01")
    assert form(CHOOSE, compared)["round_number"].default == 2


@pytest.fixture
def embedded(compared, tmp_path):
    """The samples with orthogonal vectors in three dimensions."""
    fingerprint = "0" * 16
    VectorTable(tmp_path, fingerprint).add(compared.values("id"), np.eye(3, dtype=np.float32))
    brain_runs.record_embedder(compared, tmp_path, "corners", fingerprint)
    return compared


def test_choose_tags_a_batch(execute, embedded):
    execute(SCORE, embedded)
    outcome = execute(CHOOSE, embedded, budget=2, seed=1)
    assert outcome.error_message is None
    assert outcome.result["chosen"] == 2
    batch = embedded.match_tags("round-01")
    assert sorted(batch.values("rank")) == [1, 2]
    assert all(any(tag.startswith("arm:") for tag in tags) for tags in batch.values("tags"))


def test_choose_before_score_is_an_error(execute, embedded):
    from fiftyone.operators.executor import ExecutionError

    with pytest.raises(ExecutionError, match="score hardness` first"):
        execute(CHOOSE, embedded, budget=2)
    assert embedded.match_tags("round-01").count() == 0
