"""FiftyOne operators: publish, promote and roll back registered ensembles."""

from dataclasses import asdict
from typing import Any

from fiftyone.operators import ExecutionContext

from curation.app.operators import round_forms, version_forms
from curation.app.operators.base import CurationOperator, operator_config
from curation.app.operators.execution import Outcome
from curation.app.operators.forms import Form, parameter
from curation.app.operators.progress import StageProgress


def add_signature(form: Form) -> None:
    """Add the name of the person responsible, and their reason."""
    form.text("by", "Your name", missing="Enter your name.")
    form.text("why", "Reason", missing="Enter a reason; it is recorded with the version.")


def signature(ctx: ExecutionContext) -> dict[str, str]:
    """Return name and reason as arguments of a move."""
    return {key: ctx.params[key].strip() for key in ("by", "why")}


class PublishChallenger(CurationOperator):
    """Registers the ensemble that a round trained, and judges it by the gate."""

    target = "dataset"
    submit_label = "Publish"
    config = operator_config(
        name="publish_challenger",
        label="Curation: publish",
        description="Register the trained ensemble; the gate promotes it or keeps the champion",
        icon="gavel",
        risk_level="HIGH",
        step=8,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the round to the form."""
        if round_forms.add_round_inputs(form) is None:
            return
        if form.checkbox(
            "sign_off", "Require a signature", description="Only a person may promote the ensemble"
        ):
            form.note("The gate judges the ensemble; it enters service when a person promotes it")
        else:
            form.warning(
                "The gate may put the ensemble into service",
                "It does so only if every check passes. Otherwise, it reports the reasons.",
            )

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Publish the ensemble."""
        outcome = round_forms.continue_from_form(
            ctx,
            until="publish",
            stage_progress=stage_progress,
            sign_off=bool(parameter(ctx, "sign_off")),
        )
        summary = str(outcome.details.get("sentence") or outcome.summary)
        return Outcome(summary, outcome.details, view=outcome.view, wrote=False)


class PromoteVersion(CurationOperator):
    """Puts a version into service, in the name of a person."""

    target = "dataset"
    submit_label = "Promote"
    config = operator_config(
        name="promote_version",
        label="Curation: promote a version",
        description="Put a registered ensemble into service, in your name",
        icon="verified",
        risk_level="DANGEROUS",
        step=8,
        can_queue=False,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the version and the signature to the form."""
        versions = version_forms.require_versions(form, 1)
        if not versions:
            return
        version = version_forms.select_version(
            form, "version", "Version", alias="challenger", versions=versions
        )
        add_signature(form)
        overrides = form.checkbox("against_the_gate", "Override the gate's verdict")
        if version in versions and "verdict promote" not in versions[version] and not overrides:
            form.error(
                f"The gate's verdict on version {version} is not `promote`. To promote it anyway, "
                "check `Override the gate's verdict`.",
                "version",
            )
        form.confirm(f"Put version {version} into service")

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Promote the version."""
        from curation.api.registry import promote

        move = promote(
            ctx.dataset,
            parameter(ctx, "version", "challenger"),
            against_the_gate=bool(parameter(ctx, "against_the_gate")),
            **signature(ctx),
        )
        return Outcome(move.sentence, asdict(move), wrote=False)


class RollbackVersion(CurationOperator):
    """Puts the version before the champion back into service."""

    target = "dataset"
    submit_label = "Roll back"
    config = operator_config(
        name="rollback_version",
        label="Curation: roll back",
        description="Put the version that the champion replaced back into service",
        icon="history",
        risk_level="DANGEROUS",
        step=8,
        can_queue=False,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the signature to the form, and show the version to withdraw."""
        versions = version_forms.require_versions(form, 1)
        champion = next((v for v, label in versions.items() if "champion" in label), None)
        if champion is None:
            if versions:
                form.error("No version is in service, so there is nothing to roll back.")
            return
        form.warning(
            f"Withdraws {versions[champion]}", "The version that it replaced returns to service."
        )
        add_signature(form)
        form.hidden("of", champion)
        form.confirm(f"Withdraw version {champion}")

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Roll back."""
        from curation.api.registry import rollback

        move = rollback(ctx.dataset, of=parameter(ctx, "of"), **signature(ctx))
        return Outcome(move.sentence, asdict(move), wrote=False)


def register(plugin: Any) -> None:
    """Register the operators with FiftyOne."""
    plugin.register(PublishChallenger)
    plugin.register(PromoteVersion)
    plugin.register(RollbackVersion)
