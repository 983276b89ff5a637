"""The App's door to scheduled work: what is due when, what became of it, and how to steer it."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.operators import job_forms
from curation.app.operators.base import AT_ONCE, Door
from curation.app.operators.execution import Outcome


class ListJobs(Door):
    """Shows all jobs, and what became of the latest runs."""

    looks_at = "nothing"
    button = "Show"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="list_jobs",
            label="Curation: scheduled jobs",
            description="What is due when, and what became of it",
            icon="schedule",
            risk_level=types.RiskLevel.LOW,
            **AT_ONCE,
        )

    def resolve_placement(self, ctx: Any) -> types.Placement:
        """Put a button above the grid."""
        view = types.Button(label="Scheduled jobs", icon="schedule", prompt=True)
        return types.Placement(types.Places.SAMPLES_GRID_SECONDARY_ACTIONS, view)

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Return the rows of both tables."""
        found = job_forms.tables()
        return Outcome(f"{len(found['jobs'])} jobs are scheduled.", found, wrote=False)

    def resolve_output(self, ctx: Any) -> types.Property:
        """Show both tables."""
        outputs = types.Object()
        for name, label in (("jobs", "Jobs"), ("runs", "Latest runs")):
            table = types.TableView()
            for key, heading in job_forms.COLUMNS[name].items():
                table.add_column(key, label=heading)
            outputs.list(name, types.Object(), label=label, view=table)
        return types.Property(outputs, view=types.View(label=self.config.label))


class AddJob(Door):
    """Adds a nightly ranking, or a watch for drift."""

    looks_at = "nothing"  # the dataset may be empty: the first images are to come
    button = "Add"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="add_job",
            label="Curation: add a scheduled job",
            description="Rank new images by the clock, and hand the hardest to people",
            icon="more_time",
            risk_level=types.RiskLevel.MEDIUM,
            **AT_ONCE,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for what `curate jobs add` asks for; say at once what cannot be meant."""
        if ctx.dataset is None:
            form.refuse("Open a dataset first.")
            return
        for name, (label, about, default) in job_forms.TEXTS.items():
            proposed = ctx.dataset.name if name == "dataset" else default
            form.text(name, label, default=proposed or "", about=about)
        for name, (label, values) in job_forms.choices().items():
            form.pick(name, label, values, default=job_forms.DEFAULTS[name])
        budget = job_forms.DEFAULTS["budget"]
        form.whole("budget", "Budget", default=budget, least=1, about="Samples a time")
        if form.problems:
            return
        if why := job_forms.problem(ctx.params, dataset=ctx.dataset.name):
            form.refuse(why)

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Keep the job, and say when it is due."""
        return Outcome(job_forms.add(ctx.params, dataset=ctx.dataset.name), wrote=False)


class _OnOne(Door):
    """What is done to one job: the form asks which."""

    looks_at = "nothing"

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask which job."""
        names = job_forms.names()
        if names:
            form.pick("name", "Job", names, default=names[0])
        else:
            form.refuse("There is no job yet. Add one first.")

    def chosen(self, ctx: Any) -> str:
        """Return the name that was asked for; the first where none was."""
        return ctx.params.get("name") or job_forms.names()[0]


class RunJob(_OnOne):
    """Runs a job once, beside its schedule."""

    button = "Run it"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="run_job", label="Curation: run a scheduled job now", icon="play_arrow",
            risk_level=types.RiskLevel.MEDIUM, **AT_ONCE,
        )  # fmt: skip

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Begin the run, in a process of its own."""
        return Outcome(job_forms.run_now(self.chosen(ctx)), wrote=False)


class PauseJob(_OnOne):
    """Lets a job rest, or resumes it."""

    button = "Pause or resume"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="pause_job", label="Curation: pause or resume a scheduled job", icon="pause",
            risk_level=types.RiskLevel.MEDIUM, **AT_ONCE,
        )  # fmt: skip

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Pause the job, or resume it."""
        return Outcome(job_forms.toggle(self.chosen(ctx)), wrote=False)


class RemoveJob(_OnOne):
    """Removes a job; its history stays."""

    button = "Remove"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="remove_job", label="Curation: remove a scheduled job", icon="delete",
            risk_level=types.RiskLevel.HIGH, **AT_ONCE,
        )  # fmt: skip

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Remove the job."""
        return Outcome(job_forms.remove(self.chosen(ctx)), wrote=False)


def register(plugin: Any) -> None:
    """Hand the operators to FiftyOne; `fiftyone.yml` lists the same names."""
    plugin.register(ListJobs)
    plugin.register(AddJob)
    plugin.register(RunJob)
    plugin.register(PauseJob)
    plugin.register(RemoveJob)
