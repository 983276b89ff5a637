"""FiftyOne operators: train the detectors of a round, and evaluate the ensemble."""

from typing import Any

from fiftyone.operators import ExecutionContext

from curation import formatting
from curation.app.operators import estimates, round_forms
from curation.app.operators.base import CurationOperator, operator_config
from curation.app.operators.execution import Outcome
from curation.app.operators.forms import Form, parameter
from curation.app.operators.progress import StageProgress
from curation.storage import schema
from curation.storage.tags import round_name

DEFAULT_EPOCHS = 12
MIN_EXAMPLES = 8  # as in `curation.active_learning.training.examples`


class TrainEnsemble(CurationOperator):
    """Fine-tunes every detector on the labeled samples, and refits the calibration."""

    target = "dataset"
    submit_label = "Train"
    config = operator_config(
        name="train_ensemble",
        label="Curation: train",
        description="Fine-tune the detectors on the labels of a round",
        icon="model_training",
        risk_level="HIGH",
        step=7,
        queue_by_default=True,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the round and training options to the form, and show what is trained."""
        inputs = round_forms.add_round_inputs(form)
        if inputs is None:
            return
        epochs = form.integer(
            "epochs", "Epochs", default=DEFAULT_EPOCHS, minimum=1, description="Maximum"
        )
        form.integer("seed", "Seed", default=0, description="Random seed for training")
        form.checkbox("focus", "Focus", description="Oversample the champion's failures")
        if inputs.manifest is None or form.errors:
            return
        labeled = ctx.dataset.match({schema.SPLIT: "train"}).exists(schema.LABELED_ROUND).count()
        batch = ctx.dataset.match_tags(round_name(inputs.number))
        waiting = batch.exists(schema.LABELED_ROUND, False).count()
        if waiting:
            form.warning(
                f"{waiting} of {inputs.chosen} samples of round {inputs.number} need labels",
                "The round continues once they are labeled.",
            )
        elif labeled < MIN_EXAMPLES:
            form.error(
                f"Training needs at least {MIN_EXAMPLES} labeled training samples, got {labeled}."
            )
        detectors = formatting.quantity(len(inputs.manifest.of_tier("detection")), "detector")
        form.note(
            f"{detectors} {estimates.TIMES} {labeled + waiting:,} labeled samples, up to {epochs} "
            "epochs each",
            "The ensemble in service does not change; the gate judges the result.",
        )

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Train the detectors."""
        return round_forms.continue_from_form(
            ctx,
            until="train",
            stage_progress=stage_progress,
            epochs=parameter(ctx, "epochs", DEFAULT_EPOCHS),
            seed=parameter(ctx, "seed", 0),
            focus=bool(parameter(ctx, "focus")),
        )


class EvaluateEnsemble(CurationOperator):
    """Evaluates champion and challenger on the frozen test split."""

    target = "dataset"
    submit_label = "Evaluate"
    config = operator_config(
        name="evaluate_ensemble",
        label="Curation: evaluate",
        description="Evaluate the trained ensemble and the champion on the test split",
        icon="assessment",
        risk_level="MEDIUM",
        step=7,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the round to the form, and show the number of images."""
        if round_forms.add_round_inputs(form) is None:
            return
        frozen = ctx.dataset.match({schema.SPLIT: "test", schema.LABELED_ROUND: 0}).count()
        if not frozen:
            form.error(
                "The test split has no labeled images to evaluate on. Ingest labeled images with "
                "the split `test`."
            )
        form.note(
            f"2 ensembles {estimates.TIMES} {frozen:,} frozen images",
            "Writes only the errors of each member's predictions, for the failures panel.",
        )

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Evaluate champion and challenger on the frozen test split."""
        outcome = round_forms.continue_from_form(
            ctx, until="evaluate", stage_progress=stage_progress
        )
        if "champion" not in outcome.details:
            return outcome
        champion, challenger = (outcome.details[name] for name in ("champion", "challenger"))
        before, after = (
            formatting.number(metrics["mcc"], undefined="not defined")
            for metrics in (champion, challenger)
        )
        return Outcome(
            f"MCC on {champion['n_images']} images: champion {before}, challenger {after}. The "
            "gate judges whether the difference is significant.",
            outcome.details,
        )


def register(plugin: Any) -> None:
    """Register the operators with FiftyOne."""
    plugin.register(TrainEnsemble)
    plugin.register(EvaluateEnsemble)
