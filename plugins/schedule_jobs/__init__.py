"""The App's door to scheduled work: what is due when, what became of it, and how to steer it."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.jobs import board

_PREFIX = "Curation: "


class ListJobs(foo.Operator):
    """Shows all jobs, and what became of the latest runs."""

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="list_jobs",
            label=f"{_PREFIX}scheduled jobs",
            description="What is due when, and what became of it",
            icon="schedule",
            risk_level=types.RiskLevel.LOW,
        )

    def resolve_placement(self, ctx: Any) -> types.Placement:
        """Put a button above the grid."""
        view = types.Button(label="Scheduled jobs", icon="schedule", prompt=True)
        return types.Placement(types.Places.SAMPLES_GRID_SECONDARY_ACTIONS, view)

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Return the rows of both tables."""
        return board.tables()

    def resolve_output(self, ctx: Any) -> types.Property:
        """Show both tables."""
        outputs = types.Object()
        for name, label in (("jobs", "Jobs"), ("runs", "Latest runs")):
            table = types.TableView()
            for key, heading in board.COLUMNS[name].items():
                table.add_column(key, label=heading)
            outputs.list(name, types.Object(), label=label, view=table)
        return types.Property(outputs, view=types.View(label="Scheduled jobs"))


class AddJob(foo.Operator):
    """Adds a nightly ranking, or a watch for drift."""

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="add_job",
            label=f"{_PREFIX}add a scheduled job",
            description="Rank new images by the clock, and hand the hardest to people",
            icon="more_time",
            dynamic=True,
            risk_level=types.RiskLevel.MEDIUM,
        )

    def resolve_input(self, ctx: Any) -> types.Property:
        """Ask for what `curate jobs add` asks for; say at once what cannot be meant."""
        inputs, dataset = types.Object(), ctx.dataset.name
        for name, (label, description, default) in board.TEXTS.items():
            inputs.str(
                name, label=label, description=description, required=False,
                default=dataset if name == "dataset" else default,
            )  # fmt: skip
        for name, (label, values) in board.choices().items():
            view = types.DropdownView()
            for one in values:
                view.add_choice(one, label=one)
            inputs.enum(
                name, view.values(), label=label, required=False, default=board.DEFAULTS[name],
                view=view,
            )  # fmt: skip
        inputs.int(
            "budget", label="Budget", description="Samples a time", required=False,
            default=board.DEFAULTS["budget"], min=1,
        )  # fmt: skip
        _refuse(inputs, board.problem(ctx.params, dataset=dataset))
        return types.Property(inputs, view=types.View(label="Add a scheduled job"))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Keep the job, and say when it is due."""
        return {"said": board.add(ctx.params, dataset=ctx.dataset.name)}

    def resolve_output(self, ctx: Any) -> types.Property:
        """Show the sentence."""
        return _said()


class _OnOne(foo.Operator):
    """What is done to one job: the form asks which."""

    def resolve_input(self, ctx: Any) -> types.Property:
        """Ask which job."""
        inputs, names = types.Object(), board.names()
        choices = types.DropdownView()
        for one in names:
            choices.add_choice(one, label=one)
        inputs.str("name", label="Job", required=False, default=next(iter(names), None),
                   view=choices)  # fmt: skip
        asked = ctx.params.get("name")
        if not names:
            _refuse(inputs, "There is no job yet. Add one first.")
        elif asked is not None and asked not in names:
            _refuse(inputs, f"No job is named {asked!r}. There are: {', '.join(names)}.")
        return types.Property(inputs, view=types.View(label=self.config.label))

    def chosen(self, ctx: Any) -> str:
        """Return the name that was asked for; the first where none was."""
        return ctx.params.get("name") or board.names()[0]

    def resolve_output(self, ctx: Any) -> types.Property:
        """Show what was done, as a sentence."""
        return _said()


class RunJob(_OnOne):
    """Runs a job once, beside its schedule."""

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="run_job", label=f"{_PREFIX}run a scheduled job now", icon="play_arrow",
            dynamic=True, risk_level=types.RiskLevel.MEDIUM,
        )  # fmt: skip

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Begin the run, in a process of its own."""
        return {"said": board.run_now(self.chosen(ctx))}


class PauseJob(_OnOne):
    """Lets a job rest, or resumes it."""

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="pause_job", label=f"{_PREFIX}pause or resume a scheduled job", icon="pause",
            dynamic=True, risk_level=types.RiskLevel.MEDIUM,
        )  # fmt: skip

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Pause the job, or resume it."""
        return {"said": board.toggle(self.chosen(ctx))}


class RemoveJob(_OnOne):
    """Removes a job; its history stays."""

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="remove_job", label=f"{_PREFIX}remove a scheduled job", icon="delete",
            dynamic=True, risk_level=types.RiskLevel.HIGH,
        )  # fmt: skip

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Remove the job."""
        return {"said": board.remove(self.chosen(ctx))}


def _refuse(inputs: types.Object, why: str) -> None:
    """Show in the form what is wrong, if anything is, so that it cannot be sent."""
    if why:
        view = types.Error(label="This cannot be done yet", description=why)
        inputs.view("problem", view, invalid=True, error_message=why)


def _said() -> types.Property:
    outputs = types.Object()
    outputs.str("said", label="Done")
    return types.Property(outputs)


def register(plugin: Any) -> None:
    """Hand the operators to FiftyOne; `fiftyone.yml` lists the same names."""
    plugin.register(ListJobs)
    plugin.register(AddJob)
    plugin.register(RunJob)
    plugin.register(PauseJob)
    plugin.register(RemoveJob)
