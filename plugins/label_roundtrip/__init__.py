"""FiftyOne operators: push labeling tasks, pull labels, and show the status of a round."""

from dataclasses import asdict
from typing import Any

from fiftyone.operators import ExecutionContext

from curation.app.operators import options, round_forms
from curation.app.operators.base import CurationOperator, operator_config
from curation.app.operators.execution import Outcome
from curation.app.operators.forms import Form, parameter
from curation.app.operators.progress import StageProgress
from curation.storage import schema
from curation.storage.tags import round_name


def add_batch_inputs(form: Form, *, with_oracle: bool = True) -> int | None:
    """Add round and labeler; return the round, or None if an input is invalid."""
    if not round_forms.require_taxonomy(form):
        return None
    number = round_forms.select_round(form, default=options.last_round(form.ctx.dataset))
    round_forms.require_chosen(form, number)
    round_forms.select_labeler(form, number, with_oracle=with_oracle)
    return None if form.errors else number


def batch_parameters(ctx: ExecutionContext) -> tuple[int, str]:
    """Return the round and the labeler, or the form's defaults."""
    number = parameter(ctx, "round_number") or options.last_round(ctx.dataset)
    server = "label-studio" if ctx.secret("LABEL_STUDIO_URL") else "files"
    last = options.last_labeler(ctx.dataset, number)
    return number, parameter(ctx, "labeler", last or server)


class PushLabels(CurationOperator):
    """Sends the round's samples without labels to a labeler, one task per sample."""

    target = "dataset"
    submit_label = "Push"
    config = operator_config(
        name="push_labels",
        label="Curation: push to labeling",
        description="Send the chosen samples to Label Studio, CVAT or files for labeling",
        icon="send",
        risk_level="HIGH",
        step=6,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the round and labeler to the form, and show the expected cost."""
        number = add_batch_inputs(form, with_oracle=False)
        if number is None:
            return
        from curation.api.labeling import preview  # imports torch: only for a valid form
        from curation.errors import CurationError

        try:
            cost = preview(ctx.dataset, round_number=number)
        except CurationError as error:
            form.error(str(error), "round_number")
            return
        form.note(cost.cost.sentence, cost.rates.source)
        if cost.stop:
            form.warning("Recent rounds barely improved the ensemble", cost.advice)

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Push the tasks, and show the samples waiting for labels."""
        from curation.api.labeling import push

        number, labeler = batch_parameters(ctx)
        result = push(ctx.dataset, number, labeler=labeler)
        batch = ctx.dataset.match_tags(round_name(number))
        return Outcome(
            f"Pushed {result.pushed} tasks of round {number}; {result.existing} existed. "
            f"{result.location}",
            asdict(result),
            view=batch.exists(schema.LABELED_ROUND, False).sort_by(schema.RANK),
        )


class PullLabels(CurationOperator):
    """Imports submitted labels, including later changes, into the ground truth."""

    target = "dataset"
    submit_label = "Pull"
    config = operator_config(
        name="pull_labels",
        label="Curation: pull labels",
        description="Import submitted labels into the ground truth",
        icon="download_done",
        risk_level="MEDIUM",
        step=6,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the round and labeler to the form."""
        if add_batch_inputs(form) is not None:
            form.note(
                "Only submitted labels become ground truth", "Unconfirmed predictions never do."
            )

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Pull the labels, and show the labeled samples."""
        from curation.api.labeling import pull

        number, labeler = batch_parameters(ctx)
        result = asdict(pull(ctx.dataset, number, labeler=labeler))
        result.pop("failure_yield", None)
        new = result.get("new", result.get("updated", 0) + result["labeled"])
        review = f" {len(result['review'])} submissions to review." if result["review"] else ""
        labeled = ctx.dataset.match({schema.LABELED_ROUND: number})
        return Outcome(
            f"{new} samples of round {number} got labels; {result['waiting']} waiting.{review}",
            result,
            view=labeled if len(labeled) else None,
        )


class LabelingStatus(CurationOperator):
    """Shows the labeling progress of a round, without writing anything."""

    target = "dataset"
    submit_label = "Show"
    config = operator_config(
        name="labeling_status",
        label="Curation: labeling status",
        description="Show how many tasks of a round are labeled",
        icon="hourglass_bottom",
        risk_level="LOW",
        step=6,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the round and labeler to the form."""
        add_batch_inputs(form)

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Query the labeler."""
        from curation.api.datasets import connected
        from curation.labeling import factory

        number, name = batch_parameters(ctx)
        labeler = factory.create(name, ctx.dataset, connected())
        status = labeler.status(round_name(number))
        return Outcome(
            f"{status.submitted} of {status.tasks} tasks of round {number} are submitted, "
            f"{status.waiting} waiting. {labeler.instructions}",
            {**asdict(status), "waiting": status.waiting, "where": labeler.instructions},
            wrote=False,
        )


def register(plugin: Any) -> None:
    """Register the operators with FiftyOne."""
    plugin.register(PushLabels)
    plugin.register(PullLabels)
    plugin.register(LabelingStatus)
