"""The App's door to taking back: the fields of a stage, or a whole round."""

from dataclasses import asdict
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.operators import options, round_forms, undo
from curation.app.operators.base import RUN, Door
from curation.app.operators.execution import Outcome
from curation.settings import from_environment
from curation.storage import rounds


class UndoStage(Door):
    """Removes what a stage wrote; what we did not write stays."""

    looks_at = "dataset"
    button = "Take back"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="undo_stage",
            label="Curation: undo a stage",
            description="Remove the fields that a stage wrote, and nothing else",
            icon="undo",
            risk_level=types.RiskLevel.DANGEROUS,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the stage; show what would go, and what stays."""
        found = undo.undoable(ctx.dataset)
        if not found:
            form.refuse("No stage left anything on this dataset that could be taken back.")
            return
        stage = form.pick("stage", "Stage", found, default=next(iter(found)))
        if stage not in found:
            return
        one = found[stage]
        gone = [f"`{name}` ({n:,} samples)" for name, n in one.whole.items()]
        gone += [f"our labels in `{name}` ({n:,} samples)" for name, n in one.shared.items()]
        gone += [f"brain run `{key}`" for key in one.brain_runs]
        gone += [f"saved view `{name}`" for name in one.views]
        gone += [f"tag `{tag}`" for tag in one.tags]
        form.warn("This goes", ", ".join(gone))
        if one.kept:
            form.say("This stays: somebody else wrote it", ", ".join(one.kept))
        form.confirm("Remove them")

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Take it back."""
        stage = ctx.params.get("stage") or next(iter(undo.undoable(ctx.dataset)))
        gone = undo.undo(ctx.dataset, stage)
        names = ", ".join([*gone.whole, *gone.shared, *gone.brain_runs]) or "nothing"
        return Outcome(f"Taken back of `{stage}`: {names}.", asdict(gone))


class WithdrawRound(Door):
    """Takes the last round back: its choice, its ground truth and its tasks."""

    looks_at = "dataset"
    button = "Withdraw"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="withdraw_round",
            label="Curation: withdraw a round",
            description="Take the last round back: its choice, its ground truth and its tasks",
            icon="delete_sweep",
            risk_level=types.RiskLevel.DANGEROUS,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the round; show what would go."""
        number = round_forms.ask_round(form, default=options.last_round(ctx.dataset))
        if form.problems:
            return
        from curation.errors import CurationError
        from curation.stages.withdraw import extent  # brings torch along

        this = rounds.get_round(from_environment().home, ctx.dataset.name, number)
        try:
            found = extent(ctx.dataset, this)
        except CurationError as error:
            form.refuse(str(error), "round_number")
            return
        form.warn(
            f"This removes the choice of {found.chosen:,} samples and the ground truth of "
            f"{found.labeled:,}, with {found.boxes:,} boxes",
            f"Version {found.published}, which it registered, stays." if found.published else "",
        )
        form.confirm(f"Withdraw round {number}")

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Withdraw it."""
        from curation.api.rounds import withdraw

        number = ctx.params.get("round_number") or options.last_round(ctx.dataset)
        result = withdraw(ctx.dataset, number)
        return Outcome(
            f"Round {number} is withdrawn: {result.extent.chosen} samples are in the pool again. "
            f"{result.labeler}",
            asdict(result),
        )


def register(plugin: Any) -> None:
    """Hand the operators to FiftyOne; `fiftyone.yml` lists the same names."""
    plugin.register(UndoStage)
    plugin.register(WithdrawRound)
