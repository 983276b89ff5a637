"""FiftyOne operator: find boxes of the ground truth that look wrong."""

from dataclasses import asdict
from typing import Any

from fiftyone.operators import ExecutionContext

from curation.app.operators import round_forms
from curation.app.operators.base import CurationOperator, operator_config
from curation.app.operators.execution import Outcome
from curation.app.operators.forms import Form, parameter
from curation.app.operators.progress import StageProgress
from curation.storage import schema

DEFAULT_LIMIT = 200
VIEW = "review"


class ReviewLabels(CurationOperator):
    """Marks boxes of the ground truth that look wrong, most certain errors first."""

    target = "dataset"
    submit_label = "Find errors"
    config = operator_config(
        name="review_labels",
        label="Curation: review labels",
        description="Mark boxes of the ground truth that look wrong",
        icon="fact_check",
        risk_level="MEDIUM",
        step=6,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the manifest of the members to trust, and the number of boxes."""
        name = round_forms.select_manifest(form, description="Members whose predictions to trust")
        round_forms.load_manifest(form, name)
        form.integer(
            "limit", "Limit", default=DEFAULT_LIMIT, minimum=1, description="Maximum of boxes"
        )
        counts = []
        for field, verb in ((schema.GROUND_TRUTH, "label"), (schema.CONSENSUS, "predict")):
            is_declared = ctx.dataset.get_field(field) is not None
            counts.append(ctx.dataset.exists(field).count() if is_declared else 0)
            if not counts[-1]:
                form.error(f"No sample has a `{field}` to compare. Run `Curation: {verb}` first.")
        if not form.errors:
            form.note(
                f"Compares the ground truth of up to {min(counts):,} samples with the members' "
                "predictions",
                f"Replaces the tag, the field and the saved view `{VIEW}` of an earlier review.",
            )

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Review the labels, and show the worst first."""
        from curation.api.labeling import review

        result = review(
            ctx.dataset,
            limit=parameter(ctx, "limit", DEFAULT_LIMIT),
            manifest=parameter(ctx, "manifest", round_forms.DEFAULT_MANIFEST),
        )
        kinds = ", ".join(f"{kind} {n}" for kind, n in result.kinds.items()) or "none"
        return Outcome(
            f"{result.boxes} boxes on {result.samples} of {result.looked_at} samples look wrong "
            f"({kinds}).",
            asdict(result),
            saved_view=VIEW if result.boxes else "",
        )


def register(plugin: Any) -> None:
    """Register the operator with FiftyOne."""
    plugin.register(ReviewLabels)
