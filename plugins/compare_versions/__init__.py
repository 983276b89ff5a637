"""FiftyOne operator: compare two registered versions of an ensemble."""

from dataclasses import asdict
from typing import Any

from fiftyone.operators import ExecutionContext

from curation.app.operators import estimates, version_forms
from curation.app.operators.base import CurationOperator, operator_config
from curation.app.operators.execution import Outcome
from curation.app.operators.forms import Form, parameter
from curation.app.operators.progress import StageProgress


class CompareVersions(CurationOperator):
    """Runs two versions on the same samples, each into its own fields."""

    submit_label = "Compare"
    config = operator_config(
        name="compare_versions",
        label="Curation: compare two versions",
        description="Run two registered ensembles side by side, and show where they differ",
        icon="compare",
        risk_level="MEDIUM",
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the two versions to the form."""
        versions = version_forms.require_versions(form, 2)
        if len(versions) < 2:
            return
        first, second = (
            version_forms.select_version(form, name, label, alias=alias, versions=versions)
            for name, label, alias in (
                ("first", "First version", "champion"),
                ("second", "Second version", "challenger"),
            )
        )
        if first == second:
            form.error("Select two different versions.", "second")
        form.note(
            f"2 ensembles {estimates.TIMES} {len(ctx.target_view()):,} samples",
            f"Writes fields such as `consensus__v{first}`.",
        )

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Compare the versions, and show where they decide differently."""
        from curation.api.registry import compare

        first = parameter(ctx, "first", "champion")
        result = compare(ctx.target_view(), first, parameter(ctx, "second", "challenger"))
        return Outcome(
            f"Versions {' and '.join(result.versions)} decide differently on {result.differing} of "
            f"{result.samples} samples ({result.labeled} labeled).",
            asdict(result),
            saved_view=result.view,
        )


def register(plugin: Any) -> None:
    """Register the operator with FiftyOne."""
    plugin.register(CompareVersions)
