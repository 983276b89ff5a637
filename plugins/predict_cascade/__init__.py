"""FiftyOne operator: run an ensemble."""

from typing import Any

from fiftyone.operators import ExecutionContext

from curation.app.operators import estimates, round_forms
from curation.app.operators.base import CurationOperator, operator_config
from curation.app.operators.execution import Outcome
from curation.app.operators.forms import Form, parameter
from curation.app.operators.progress import StageProgress
from curation.storage import schema

DEEP_TIERS = ("geometry", "segmentation", "language")
MODES = {
    "full": "every member on every sample: disagreement is the signal",
    "routed": "deep tiers only where the cascade is unsure",
}
ENGINES = {"local": "the devices of this machine", "ray": "a Ray cluster (detectors)"}
ANY_LICENSE = "any"
LICENSES = {
    ANY_LICENSE: "any",
    "permissive": "permissive only",
    "copyleft": "permissive and copyleft",
    "custom": "all but non-commercial",
}


class PredictCascade(CurationOperator):
    """Runs every member of a manifest on the samples without its prediction, and fuses them."""

    submit_label = "Predict"
    config = operator_config(
        name="predict_cascade",
        label="Curation: predict",
        description="Run an ensemble on samples without its predictions, and fuse the boxes",
        icon="layers",
        risk_level="MEDIUM",
        step=2,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the manifest and run options to the form, and show the estimate."""
        manifest = round_forms.load_manifest(form, round_forms.select_manifest(form))
        if manifest is None:
            return
        members = [member for member in manifest.members if member.tier != "embedding"]
        mode: Any = "full"
        if any(member.tier in DEEP_TIERS for member in members):
            mode = form.select("mode", "Mode", MODES, default="full")
        license_kind = form.select("licence", "License", LICENSES, default=ANY_LICENSE)
        if form.select("engine", "Engine", ENGINES, default="local") == "ray":
            form.text(
                "address", "Address of the cluster", description="Default: start a local cluster"
            )
        form.checkbox(
            "recalibrate",
            "Refit the calibration",
            description="On labeled validation samples, before the boxes are fused",
        )
        if form.errors:
            return
        if license_kind != ANY_LICENSE:
            excluded = manifest.excluded_by_license(license_kind)
            members = [member for member in members if member.name not in excluded]
        form.note(
            estimates.estimate_run(ctx.target_view(), manifest, members, mode=mode).sentence,
            f"Writes a field for each of {', '.join(member.name for member in members)}, and "
            f"`{schema.CONSENSUS}`. Other fields are not changed.",
        )

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Predict, fuse, run the deep tiers of the manifest, and fuse again."""
        import curation as cu

        samples = ctx.target_view()
        license_kind = parameter(ctx, "licence", ANY_LICENSE)
        result = cu.predict(
            samples,
            parameter(ctx, "manifest", round_forms.DEFAULT_MANIFEST),
            mode=parameter(ctx, "mode", "full"),
            strictest_license=None if license_kind == ANY_LICENSE else license_kind,
            engine=parameter(ctx, "engine", "local"),
            address=parameter(ctx, "address"),
            recalibrate=bool(parameter(ctx, "recalibrate")),
            bars=stage_progress,
        )
        predicted = result.predict
        left_out = "; ".join(predicted.left_out.values())
        sentences = [
            f"Made {predicted.ran} predictions on {predicted.samples} samples; "
            f"{predicted.skipped} existed. Samples with the lowest agreement come first.",
            f"{predicted.failed} failed, see the field `failures`." if predicted.failed else "",
            f"Left out: {left_out}" if left_out else "",
        ]
        details = {
            "samples": predicted.samples,
            "ran": predicted.ran,
            "skipped": predicted.skipped,
            "failed": predicted.failed,
            "fused": result.fuse.fused,
            "seconds": dict(predicted.seconds),
            "left_out": left_out,
        }
        if result.examine and result.adjudicate:
            details["deep_tier_predictions"] = result.examine.ran
            details["adjudicated"] = result.adjudicate.settled
        return Outcome(
            " ".join(filter(None, sentences)),
            details,
            view=samples.exists(schema.CONSENSUS).sort_by(schema.AGREEMENT),
        )


def register(plugin: Any) -> None:
    """Register the operator with FiftyOne."""
    plugin.register(PredictCascade)
