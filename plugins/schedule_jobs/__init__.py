"""FiftyOne operators: list, add, run, pause and remove scheduled jobs."""

from typing import Any

from fiftyone.operators import ExecutionContext, types

from curation.app.operators import job_forms
from curation.app.operators.base import CurationOperator, operator_config
from curation.app.operators.execution import Outcome
from curation.app.operators.forms import Form, parameter
from curation.app.operators.progress import StageProgress


class ListJobs(CurationOperator):
    """Shows all jobs, and the results of the latest runs."""

    target = "nothing"
    submit_label = "Show"
    config = operator_config(
        name="list_jobs",
        label="Curation: scheduled jobs",
        description="Show the schedule and the results of all jobs",
        icon="schedule",
        risk_level="LOW",
        can_queue=False,
    )

    def resolve_placement(self, ctx: ExecutionContext) -> types.Placement:
        """Add a button above the grid."""
        view = types.Button(label="Scheduled jobs", icon="schedule", prompt=True)
        return types.Placement(types.Places.SAMPLES_GRID_SECONDARY_ACTIONS, view)

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Return the rows of both tables."""
        tables = job_forms.tables()
        return Outcome(f"{len(tables['jobs'])} jobs are scheduled.", tables, wrote=False)

    def resolve_output(self, ctx: ExecutionContext) -> types.Property:
        """Show both tables."""
        outputs = types.Object()
        for name, label in (("jobs", "Jobs"), ("runs", "Latest runs")):
            table = types.TableView()
            for key, heading in job_forms.COLUMNS[name].items():
                table.add_column(key, label=heading)
            outputs.list(name, types.Object(), label=label, view=table)
        return types.Property(outputs, view=types.View(label=self.config.label))


class AddJob(CurationOperator):
    """Adds a nightly ranking job or a drift monitor."""

    target = "nothing"  # the dataset may be empty before its first images arrive
    submit_label = "Add"
    config = operator_config(
        name="add_job",
        label="Curation: add a scheduled job",
        description="Rank new images on a schedule, and send the hardest to labeling",
        icon="more_time",
        risk_level="MEDIUM",
        can_queue=False,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the options of `curate jobs add`."""
        if ctx.dataset is None:
            form.error("Open a dataset first.")
            return
        defaults = {**job_forms.DEFAULTS, "dataset": ctx.dataset.name}
        for name, (label, description) in job_forms.TEXT_INPUTS.items():
            form.text(name, label, default=defaults[name], description=description)
        for name, (label, values) in job_forms.choices().items():
            form.select(name, label, values, default=defaults[name])
        form.integer(
            "budget", "Budget", default=defaults["budget"], minimum=1, description="Samples per run"
        )
        if form.errors:
            return
        if error := job_forms.find_error(ctx.params, dataset=ctx.dataset.name):
            form.error(error)

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Add the job to the form."""
        return Outcome(job_forms.add(ctx.params, dataset=ctx.dataset.name), wrote=False)


class JobOperator(CurationOperator):
    """An operator on one job."""

    target = "nothing"

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the job to the form."""
        names = job_forms.names()
        if names:
            form.select("name", "Job", names, default=names[0])
        else:
            form.error("No job exists yet. Add one first.")

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Apply the action to the selected job, by default the first."""
        return Outcome(self.apply(parameter(ctx, "name") or job_forms.names()[0]), wrote=False)

    def apply(self, name: str) -> str:
        """Apply the action to a job, and return a message."""
        raise NotImplementedError


class RunJob(JobOperator):
    """Runs a job once outside its schedule."""

    submit_label = "Run"
    config = operator_config(
        name="run_job",
        label="Curation: run a scheduled job now",
        description="Run a job once outside its schedule",
        icon="play_arrow",
        risk_level="MEDIUM",
        can_queue=False,
    )

    def apply(self, name: str) -> str:
        """Start the run in its own process."""
        return job_forms.run_now(name)


class PauseJob(JobOperator):
    """Pauses a job, or resumes it."""

    submit_label = "Pause or resume"
    config = operator_config(
        name="pause_job",
        label="Curation: pause or resume a scheduled job",
        description="Pause a job, or resume a paused one",
        icon="pause",
        risk_level="MEDIUM",
        can_queue=False,
    )

    def apply(self, name: str) -> str:
        """Pause the job, or resume it."""
        return job_forms.toggle_pause(name)


class RemoveJob(JobOperator):
    """Removes a job; the records of its runs stay."""

    submit_label = "Remove"
    config = operator_config(
        name="remove_job",
        label="Curation: remove a scheduled job",
        description="Remove a job; the records of its runs stay",
        icon="delete",
        risk_level="HIGH",
        can_queue=False,
    )

    def apply(self, name: str) -> str:
        """Remove the job."""
        return job_forms.remove(name)


def register(plugin: Any) -> None:
    """Register the operators with FiftyOne."""
    plugin.register(ListJobs)
    plugin.register(AddJob)
    plugin.register(RunJob)
    plugin.register(PauseJob)
    plugin.register(RemoveJob)
