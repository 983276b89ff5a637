"""The App's door to scoring and choosing: two forms, each with one call behind it."""

from dataclasses import asdict
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation import operators

DEFAULT_BUDGET = 40


class ScoreHardness(foo.Operator):
    """Ranks the unlabeled samples by the disagreement of fields that are there already."""

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="score_hardness",
            label="Curation: score hardness",
            description="Rank unlabeled samples by how much their predictions disagree",
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=types.RiskLevel.MEDIUM,
        )

    def resolve_input(self, ctx: Any) -> types.Property:
        """Ask for the fields to compare."""
        ctx.target_view()
        found = operators.member_fields(ctx.dataset)
        inputs = types.Object()
        if not found:
            _explain(inputs, "No predictions", "This dataset has no field of predicted boxes.")
        choices = types.AutocompleteView(allow_user_input=False, allow_duplicates=False)
        for name in found:
            choices.add_choice(name, label=name)
        inputs.list(
            "members",
            types.String(),
            label="Members",
            description="Label fields whose disagreement counts; all of them by default",
            required=False,
            default=found,
            view=choices,
        )
        return types.Property(inputs, view=types.View(label="Score hardness"))

    def resolve_execution_options(self, ctx: Any) -> foo.ExecutionOptions:
        """Queue large views."""
        return operators.execution_options(ctx)

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Score, and return the stage's own summary."""
        from curation.stages.score import score  # takes torch along: not at every request

        result = score(
            ctx.target_view(),
            members=ctx.params.get("members") or operators.member_fields(ctx.dataset),
            progress=operators.progress_of(ctx, "score"),
        )
        operators.refresh(ctx)
        return asdict(result)

    def resolve_output(self, ctx: Any) -> types.Property:
        """Show the counts."""
        outputs = types.Object()
        outputs.int("ranked", label="Samples ranked")
        outputs.int("scored", label="Scored")
        return types.Property(outputs, view=types.View(label="Hardness scored"))


class ChooseSamples(foo.Operator):
    """Tags the next batch to label: hard, varied, and a random arm to compare with."""

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="choose_samples",
            label="Curation: choose samples",
            description="Tag the next batch to label: hard, varied, and a random arm",
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=types.RiskLevel.MEDIUM,
        )

    def resolve_input(self, ctx: Any) -> types.Property:
        """Ask for the budget, the round and the seed."""
        ctx.target_view()
        inputs = types.Object()
        inputs.int(
            "budget",
            label="Budget",
            description="Samples to choose",
            required=False,
            default=DEFAULT_BUDGET,
            min=1,
        )
        inputs.int(
            "round_number",
            label="Round",
            description="Names the tag of the batch, such as round-01; a new round by default",
            required=False,
            default=operators.next_round(ctx.dataset),
            min=1,
        )
        inputs.int(
            "seed",
            label="Seed",
            description="Of the random arm",
            required=False,
            default=0,
            min=0,
        )
        return types.Property(inputs, view=types.View(label="Choose samples"))

    def resolve_execution_options(self, ctx: Any) -> foo.ExecutionOptions:
        """Queue large views."""
        return operators.execution_options(ctx)

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Choose, and return the stage's own summary."""
        from curation.stages.choose import choose

        result = choose(
            ctx.target_view(),
            round_number=ctx.params.get("round_number") or operators.next_round(ctx.dataset),
            budget=ctx.params.get("budget", DEFAULT_BUDGET),
            seed=ctx.params.get("seed", 0),
            progress=operators.progress_of(ctx, "choose"),
        )
        operators.refresh(ctx)
        summary = asdict(result)
        return summary | {"advice": "\n".join(result.advice)}

    def resolve_output(self, ctx: Any) -> types.Property:
        """Show the batch, its cost, and what to know before labeling."""
        outputs = types.Object()
        outputs.int("chosen", label="Chosen")
        outputs.int("duplicates_dropped", label="Near-duplicates left out")
        outputs.float("boxes", label="Boxes to expect")
        outputs.float("hours", label="Hours to expect")
        outputs.str("advice", label="Before you label")
        return types.Property(outputs, view=types.View(label="Samples chosen"))


def _explain(inputs: types.Object, label: str, description: str) -> None:
    inputs.view("explanation", types.Warning(label=label, description=description))


def register(plugin: Any) -> None:
    """Hand the operators to FiftyOne; `fiftyone.yml` lists the same names."""
    plugin.register(ScoreHardness)
    plugin.register(ChooseSamples)
