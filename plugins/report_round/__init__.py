"""FiftyOne operator: write the report of a round."""

from typing import Any

from fiftyone.operators import ExecutionContext

from curation.app.operators import options, round_forms
from curation.app.operators.base import CurationOperator, operator_config
from curation.app.operators.execution import Outcome
from curation.app.operators.forms import Form, parameter
from curation.app.operators.progress import StageProgress


class ReportRound(CurationOperator):
    """Writes the report of a round up to its last stage."""

    target = "dataset"
    submit_label = "Write the report"
    config = operator_config(
        name="report_round",
        label="Curation: report",
        description="Write a round's report: selection, labels, metrics before and after",
        icon="article",
        risk_level="LOW",
        step=9,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the round to the form."""
        round_forms.select_round(form, default=options.last_round(ctx.dataset))
        form.note("Writes one HTML file", "An earlier report of the round is replaced.")

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Write the report."""
        from curation.api.rounds import report

        number = parameter(ctx, "round_number") or options.last_round(ctx.dataset)
        page = str(report(ctx.dataset, number))
        return Outcome(f"Wrote the report of round {number}: {page}", {"page": page}, wrote=False)


def register(plugin: Any) -> None:
    """Register the operator with FiftyOne."""
    plugin.register(ReportRound)
