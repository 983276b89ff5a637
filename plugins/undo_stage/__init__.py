"""FiftyOne operators: undo a stage, and withdraw a round."""

from dataclasses import asdict
from typing import Any

from fiftyone.operators import ExecutionContext

from curation.app.operators import options, round_forms, undo
from curation.app.operators.base import CurationOperator, operator_config
from curation.app.operators.execution import Outcome
from curation.app.operators.forms import Form, parameter
from curation.app.operators.progress import StageProgress
from curation.settings import from_environment
from curation.storage import rounds


class UndoStage(CurationOperator):
    """Removes what a stage wrote; other data is kept."""

    target = "dataset"
    submit_label = "Undo"
    config = operator_config(
        name="undo_stage",
        label="Curation: undo a stage",
        description="Remove the fields that a stage wrote, and nothing else",
        icon="undo",
        risk_level="DANGEROUS",
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the stage to the form, and show what is removed and what is kept."""
        stages = undo.undoable_stages(ctx.dataset)
        if not stages:
            form.error("No stage has written anything to this dataset that can be undone.")
            return
        stage = form.select("stage", "Stage", stages, default=next(iter(stages)))
        if stage not in stages:
            return
        traces = stages[stage]
        removed = [f"`{name}` ({n:,} samples)" for name, n in traces.fields.items()]
        removed += [
            f"our labels in `{name}` ({n:,} samples)" for name, n in traces.shared_fields.items()
        ]
        removed += [f"brain run `{key}`" for key in traces.brain_runs]
        removed += [f"saved view `{name}`" for name in traces.views]
        removed += [f"tag `{tag}`" for tag in traces.tags]
        form.warning("To be removed", ", ".join(removed))
        if traces.foreign_fields:
            form.note("Created by others, so kept", ", ".join(traces.foreign_fields))
        form.confirm("Remove them")

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Undo the stage."""
        stage = parameter(ctx, "stage") or next(iter(undo.undoable_stages(ctx.dataset)))
        traces = undo.undo(ctx.dataset, stage)
        names = [*traces.fields, *traces.shared_fields, *traces.brain_runs]
        return Outcome(
            f"Removed data of `{stage}`: {', '.join(names) or 'nothing'}.", asdict(traces)
        )


class WithdrawRound(CurationOperator):
    """Withdraws the last round: its choice, its ground truth and its tasks."""

    target = "dataset"
    submit_label = "Withdraw"
    config = operator_config(
        name="withdraw_round",
        label="Curation: withdraw a round",
        description="Remove the choice, the ground truth and the tasks of the last round",
        icon="delete_sweep",
        risk_level="DANGEROUS",
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the round to the form, and show what is removed."""
        number = round_forms.select_round(form, default=options.last_round(ctx.dataset))
        if form.errors:
            return
        from curation.errors import CurationError
        from curation.stages.withdraw import extent  # imports torch

        this = rounds.get_round(from_environment().home, ctx.dataset.name, number)
        try:
            removed = extent(ctx.dataset, this)
        except CurationError as error:
            form.error(str(error), "round_number")
            return
        form.warning(
            f"Removes the choice of {removed.chosen:,} samples and the ground truth of "
            f"{removed.labeled:,}, with {removed.boxes:,} boxes",
            f"The registered version {removed.published} is kept." if removed.published else "",
        )
        form.confirm(f"Withdraw round {number}")

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Withdraw the round."""
        from curation.api.rounds import withdraw

        number = parameter(ctx, "round_number") or options.last_round(ctx.dataset)
        result = withdraw(ctx.dataset, number)
        return Outcome(
            f"Round {number} is withdrawn: {result.extent.chosen} samples are back in the pool. "
            f"{result.labeler}",
            asdict(result),
        )


def register(plugin: Any) -> None:
    """Register the operators with FiftyOne."""
    plugin.register(UndoStage)
    plugin.register(WithdrawRound)
