"""Runs panel: queued operations."""

import pytest

RUNS = "follow_runs/runs_panel"


class TestRuns:
    @pytest.fixture
    def queued(self, dataset):
        """A dataset with one queued, one running, one failed operation."""
        from fiftyone.operators.delegated import DelegatedOperationService
        from fiftyone.operators.executor import ExecutionContext, ExecutionRunState

        service = DelegatedOperationService()
        queued_ids = []
        for label in ("waits", "runs", "broke"):
            ctx = ExecutionContext(
                request_params={"dataset_name": dataset.name, "dataset_id": str(dataset._doc.id),
                                "params": {}},
                operator_uri="@curation/rank_samples/score_hardness",
            )  # fmt: skip
            queued_ids.append(
                service.queue_operation(
                    operator="@curation/rank_samples/score_hardness", label=label,
                    context=ctx, delegation_target="local",
                ).id
            )  # fmt: skip
        service._repo.update_run_state(_id=queued_ids[1], run_state=ExecutionRunState.RUNNING)
        service.set_failed(queued_ids[2], result=None)
        yield dataset
        for operation in service.list_operations(dataset_name=dataset.name):
            service.delete_operation(operation.id)

    def test_runs_are_listed_with_their_actions(self, panel, queued):
        response = panel(RUNS, queued)
        assert [row["what"] for row in response.data["runs"]] == ["runs", "waits", "broke"]
        actions = {
            action["method"]: action["rows"] for action in response.components["runs"]["actions"]
        }
        assert actions == {
            "log": None, "cancel": [True, True, False], "rerun": [False, False, True],
        }  # fmt: skip
        assert "timer" in response.components, "the page refreshes while something runs"

    def test_queued_run_is_cancelled_and_run_again(self, panel, queued):
        state = panel(RUNS, queued).state
        response = panel(RUNS, queued, "cancel", state, row=1)
        states = {row["what"]: row["state"] for row in response.data["runs"]}
        assert states["waits"] == "cancelled"
        row = [run["what"] for run in response.data["runs"]].index("waits")
        rerun = panel(RUNS, queued, "rerun", response.state, row=row)
        assert sum(run["state"].startswith("queued") for run in rerun.data["runs"]) == 1

    def test_log_is_shown_and_closed(self, panel, queued):
        response = panel(RUNS, queued, "log", panel(RUNS, queued).state, row=2)
        assert "The log is empty" in response.data["log"]
        assert "log" not in panel(RUNS, queued, "close_log", response.state).components

    def test_runs_of_all_datasets(self, panel, queued):
        response = panel(RUNS, queued, "change", value="everywhere", path="whose")
        assert queued.name in {row["dataset"] for row in response.data["runs"]}
