"""The App's door to predicting: one form, and the calls to predict and fuse."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from cascade import manifest as manifests
from curation import operators

DEFAULT_MANIFEST = "tiny"


class PredictCascade(foo.Operator):
    """Runs every detector of a manifest that has not looked at a sample yet."""

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="predict_cascade",
            label="Curation: predict",
            description="Run an ensemble over the samples that it has not seen, and fuse its boxes",
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=types.RiskLevel.MEDIUM,
        )

    def resolve_input(self, ctx: Any) -> types.Property:
        """Ask which of the packaged manifests to run."""
        ctx.target_view()
        choices = types.DropdownView()
        for name in manifests.packaged_names():
            choices.add_choice(name, label=name)
        inputs = types.Object()
        inputs.enum(
            "manifest",
            choices.values(),
            label="Manifest",
            description="The ensemble to run",
            required=False,
            default=DEFAULT_MANIFEST,
            view=choices,
        )
        return types.Property(inputs, view=types.View(label="Predict with an ensemble"))

    def resolve_execution_options(self, ctx: Any) -> foo.ExecutionOptions:
        """Queue large views."""
        return operators.execution_options(ctx)

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Predict and fuse, and return what was done."""
        from cascade.ensemble import Ensemble  # takes torch along: not at every request
        from curation.stages.fuse import fuse
        from curation.stages.predict import predict

        samples = ctx.target_view()
        ensemble = Ensemble.from_manifest(ctx.params.get("manifest") or DEFAULT_MANIFEST)
        predicted = predict(samples, ensemble, progress=operators.progress_of(ctx, "predict"))
        fused = fuse(samples, ensemble, progress=operators.progress_of(ctx, "fuse"))
        operators.refresh(ctx)
        return {
            "samples": predicted.samples,
            "ran": predicted.ran,
            "skipped": predicted.skipped,
            "failed": predicted.failed,
            "fused": fused.fused,
            "left_out": "\n".join(predicted.left_out.values()),
        }

    def resolve_output(self, ctx: Any) -> types.Property:
        """Show the counts, and which members could not run."""
        outputs = types.Object()
        outputs.int("samples", label="Samples")
        outputs.int("ran", label="Predictions made")
        outputs.int("skipped", label="Predictions that were there")
        outputs.int("failed", label="Failures on record")
        outputs.str("left_out", label="Members left out")
        return types.Property(outputs, view=types.View(label="Predicted"))


def register(plugin: Any) -> None:
    """Hand the operator to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(PredictCascade)
