"""The page of queued operations."""

import pytest

RUNS = "follow_runs/runs_panel"


class TestRuns:
    @pytest.fixture
    def queued(self, dataset):
        """A dataset with one queued, one running, one failed operation."""
        from fiftyone.operators.delegated import DelegatedOperationService
        from fiftyone.operators.executor import ExecutionContext, ExecutionRunState

        service = DelegatedOperationService()
        made = []
        for label in ("waits", "runs", "broke"):
            ctx = ExecutionContext(
                request_params={"dataset_name": dataset.name, "dataset_id": str(dataset._doc.id),
                                "params": {}},
                operator_uri="@curation/rank_samples/score_hardness",
            )  # fmt: skip
            made.append(
                service.queue_operation(
                    operator="@curation/rank_samples/score_hardness", label=label,
                    context=ctx, delegation_target="local",
                ).id
            )  # fmt: skip
        service._repo.update_run_state(_id=made[1], run_state=ExecutionRunState.RUNNING)
        service.set_failed(made[2], result=None)
        yield dataset
        for one in service.list_operations(dataset_name=dataset.name):
            service.delete_operation(one.id)

    def test_runs_are_listed_with_what_can_be_done(self, panel, queued):
        told = panel(RUNS, queued)
        assert [row["what"] for row in told.data["runs"]] == ["runs", "waits", "broke"]
        actions = {one["method"]: one["rows"] for one in told.pieces["runs"]["actions"]}
        assert actions == {
            "log": None, "cancel": [True, True, False], "rerun": [False, False, True],
        }  # fmt: skip
        assert "timer" in told.pieces, "it looks again by itself while something runs"

    def test_one_that_waits_is_cancelled_and_run_again(self, panel, queued):
        listed = panel(RUNS, queued).state
        told = panel(RUNS, queued, "cancel", listed, row=1)
        states = {row["what"]: row["state"] for row in told.data["runs"]}
        assert states["waits"] == "cancelled"
        row = [one["what"] for one in told.data["runs"]].index("waits")
        again = panel(RUNS, queued, "rerun", told.state, row=row)
        assert sum(one["state"].startswith("queued") for one in again.data["runs"]) == 1

    def test_a_log_is_shown_and_closed(self, panel, queued):
        told = panel(RUNS, queued, "log", panel(RUNS, queued).state, row=2)
        assert "It said nothing" in told.data["log"]
        assert "log" not in panel(RUNS, queued, "close_log", told.state).pieces

    def test_all_datasets_can_be_looked_at(self, panel, queued):
        told = panel(RUNS, queued, "change", value="everywhere", path="whose")
        assert queued.name in {row["dataset"] for row in told.data["runs"]}
