"""FiftyOne operators: show, cancel and rerun queued operations."""

from dataclasses import asdict
from typing import Any

from fiftyone.operators import ExecutionContext

from curation.app.operators.base import CurationOperator, operator_config
from curation.app.operators.execution import Outcome
from curation.app.operators.forms import Form, parameter
from curation.app.operators.progress import StageProgress
from curation.worker import run_history
from curation.worker.run_history import Run

MAX_RUNS = 50


class RunOperator(CurationOperator):
    """An operator on one queued operation.

    Attributes:
        finished: Whether it applies to finished runs or to open ones; None for all.
    """

    target = "nothing"
    finished: bool | None = None

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the run to the form."""
        labels = {}
        for run in self.list_runs():
            queued = f"{run.queued_at:%Y-%m-%d %H:%M} UTC" if run.queued_at else ""
            parts = (run.label, run.dataset or "no dataset", run.state, queued)
            labels[run.id] = " · ".join(filter(None, parts))
        if labels:
            form.select("run", "Run", labels, default=next(iter(labels)))
        else:
            state = {None: "", True: "finished ", False: "open "}[self.finished]
            form.error(f"No {state}run exists.")

    def list_runs(self) -> list[Run]:
        """Return the runs to choose from, latest first."""
        runs = run_history.list_runs(limit=MAX_RUNS)
        return [run for run in runs if self.finished in (None, run.is_finished)]

    def run_id(self, ctx: ExecutionContext) -> str:
        """Return the selected run, by default the first."""
        first = next((run.id for run in self.list_runs()), "")
        return str(parameter(ctx, "run", first))


class ShowRuns(RunOperator):
    """Shows the runs, and the log of one of them."""

    submit_label = "Show"
    config = operator_config(
        name="show_runs",
        label="Curation: read a run's log",
        description="Show queued, running and finished operations, and the log of one",
        icon="receipt_long",
        risk_level="LOW",
        can_queue=False,
    )

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Read the log."""
        run = run_history.get_run(self.run_id(ctx))
        runs = [f"{other.state}: {other.label} ({other.dataset})" for other in self.list_runs()]
        log = run_history.read_log(run.id) or "The log is empty."
        return Outcome(
            f"{run.label}: {run.state}. {run.error or run.note}".strip(),
            {"run": asdict(run), "log": log, "runs": runs},
            wrote=False,
        )


class CancelRun(RunOperator):
    """Cancels a run; a queued one ends immediately."""

    submit_label = "Cancel the run"
    finished = False
    config = operator_config(
        name="cancel_run",
        label="Curation: cancel a run",
        description="End a queued or running operation; data that it wrote is kept",
        icon="cancel",
        risk_level="HIGH",
        can_queue=False,
    )

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Cancel the run."""
        run = run_history.cancel(self.run_id(ctx))
        return Outcome(f"{run.label}: {run.state}.", {"run": asdict(run)}, wrote=False)


class RerunRun(RunOperator):
    """Queues a finished run again with the same inputs."""

    submit_label = "Run again"
    finished = True
    config = operator_config(
        name="rerun_run",
        label="Curation: run again",
        description="Queue a finished operation again with the same inputs",
        icon="replay",
        risk_level="MEDIUM",
        can_queue=False,
    )

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Queue the run."""
        run = run_history.get_run(run_history.rerun(self.run_id(ctx)))
        return Outcome(f"Queued again as {run.id}.", {"run": asdict(run)}, wrote=False)


def register(plugin: Any) -> None:
    """Register the operators with FiftyOne."""
    plugin.register(ShowRuns)
    plugin.register(CancelRun)
    plugin.register(RerunRun)
