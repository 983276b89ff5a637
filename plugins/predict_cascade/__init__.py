"""The App's door to predicting: one form, and the calls to predict, fuse and look closer."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.operators import estimates, round_forms
from curation.app.operators.base import RUN, Door
from curation.app.operators.execution import Outcome
from curation.storage import schema

CLOSER = ("geometry", "segmentation", "language")
MODES = {
    "full": "every member on every sample: disagreement is the signal",
    "routed": "the deeper tiers only where the cascade is unsure",
}
LICENCES = {
    "any": "any",
    "permissive": "permissive only",
    "copyleft": "permissive and copyleft",
    "custom": "all but non-commercial",
}


class PredictCascade(Door):
    """Runs every member of a manifest that has not looked at a sample yet, and fuses them."""

    button = "Predict"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="predict_cascade",
            label="Curation: predict",
            description="Run an ensemble over the samples that it has not seen, and fuse its boxes",
            icon="layers",
            risk_level=types.RiskLevel.MEDIUM,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the manifest, and say what it will take."""
        name = round_forms.ask_manifest(form)
        parsed = round_forms.read_manifest(form, name)
        if parsed is None:
            return
        members = [one for one in parsed.members if one.tier != "embedding"]
        mode = "full"
        if any(one.tier in CLOSER for one in members):
            mode = form.pick("mode", "Mode", MODES, default="full")
        licence = form.pick("licence", "Licences", LICENCES, default="any")
        kind = None if licence not in LICENCES or licence == "any" else licence
        refused = parsed.refused(kind) if kind else {}
        members = [one for one in members if one.name not in refused]
        if form.problems:
            return
        form.say(
            estimates.of_members(ctx.target_view(), parsed, members, mode=mode).sentence,
            f"Writes a field for each of {', '.join(one.name for one in members)}, and "
            f"`{schema.CONSENSUS}`. Fields that you have stay.",
        )

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Predict, fuse, look closer where the manifest does, and fuse again."""
        from curation.api.datasets import connected, ensemble
        from curation.inference.deep_tiers import estimators
        from curation.stages.adjudicate import adjudicate
        from curation.stages.examine import examine
        from curation.stages.fuse import fuse
        from curation.stages.predict import predict
        from curation.worker import model_cache

        given, samples = ctx.params, ctx.target_view()
        licence = given.get("licence") or "any"
        members = ensemble(
            samples,
            given.get("manifest") or round_forms.DEFAULT_MANIFEST,
            licence=None if licence == "any" else licence,
        )
        members = model_cache.of(members)
        predicted = predict(samples, members, progress=bars("predict"))
        fused = fuse(samples, members, progress=bars("fuse"))
        closer: dict[str, Any] = {}
        if any(estimators(members).values()):
            folder = connected().artifacts(ctx.dataset.name)
            mode = given.get("mode") or "full"
            looked = examine(samples, members, folder=folder, mode=mode, progress=bars("examine"))
            fused = fuse(samples, members, progress=bars("fuse"))
            settled = adjudicate(samples, members, progress=bars("adjudicate"))
            closer = {"looked_closer": looked.ran, "settled_of_doubtful": settled.settled}
        left_out = "; ".join(predicted.left_out.values())
        failed = (
            f" {predicted.failed} failed, see the field `failures`." if predicted.failed else ""
        )
        lacking = f" Left out: {left_out}" if left_out else ""
        return Outcome(
            f"{predicted.ran} predictions on {predicted.samples} samples were made, "
            f"{predicted.skipped} were there; the least agreed upon come first.{failed}{lacking}",
            {
                "samples": predicted.samples,
                "ran": predicted.ran,
                "skipped": predicted.skipped,
                "failed": predicted.failed,
                "fused": fused.fused,
                **closer,
                "seconds": dict(predicted.seconds),
                "left_out": left_out,
            },
            view=samples.exists(schema.CONSENSUS).sort_by(schema.AGREEMENT),
        )


def register(plugin: Any) -> None:
    """Hand the operator to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(PredictCascade)
