"""The App's door to training and measuring: each carries a round as far as itself."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.operators import estimates, round_forms
from curation.app.operators.base import RUN, Door
from curation.app.operators.execution import Outcome
from curation.storage import schema
from curation.storage.tags import round_name

DEFAULT_EPOCHS = 12
MIN_EXAMPLES = 8  # as in `curation.active_learning.training.examples`


class TrainEnsemble(Door):
    """Fine-tunes every detector on the labeled samples, and refits the calibration."""

    looks_at = "dataset"
    button = "Train"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="train_ensemble",
            label="Curation: train",
            description="Fine-tune the detectors on what a round labeled",
            icon="model_training",
            default_choice_to_delegated=True,
            risk_level=types.RiskLevel.HIGH,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the round and the epochs; say what is trained on what."""
        asked = round_forms.ask_carried(form)
        if asked is None:
            return
        epochs = form.whole("epochs", "Epochs", default=DEFAULT_EPOCHS, least=1, about="At most")
        form.whole("seed", "Seed", default=0)
        form.tick("focus", "Focus", about="Show more often what the champion fails at")
        if asked.manifest is None or form.problems:
            return
        labeled = ctx.dataset.match({schema.SPLIT: "train"}).exists(schema.LABELED_ROUND).count()
        batch = ctx.dataset.match_tags(round_name(asked.number))
        waiting = batch.exists(schema.LABELED_ROUND, False).count()
        if waiting:
            form.warn(
                f"{waiting} of {asked.chosen} samples of round {asked.number} wait for labels",
                "They are asked for first; the round goes on when all are there.",
            )
        elif labeled < MIN_EXAMPLES:
            form.refuse(
                f"{labeled} training samples are labeled; a fit needs at least {MIN_EXAMPLES}."
            )
        detectors = [one.name for one in asked.manifest.of_tier("detection")]
        form.say(
            f"{len(detectors)} detectors {estimates.TIMES} {labeled + waiting:,} labeled samples, "
            f"up to {epochs} epochs each",
            "Nothing in service changes: that is for the gate to judge.",
        )

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Train."""
        return round_forms.carry_asked(
            ctx,
            until="train",
            bars=bars,
            epochs=ctx.params.get("epochs") or DEFAULT_EPOCHS,
            seed=ctx.params.get("seed") or 0,
            focus=bool(ctx.params.get("focus")),
        )


class EvaluateEnsemble(Door):
    """Measures champion and challenger side by side on the frozen test split."""

    looks_at = "dataset"
    button = "Evaluate"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="evaluate_ensemble",
            label="Curation: evaluate",
            description="Measure what was trained, and what is in service, on the test split",
            icon="assessment",
            risk_level=types.RiskLevel.MEDIUM,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the round; say on how many images."""
        if round_forms.ask_carried(form) is None:
            return
        frozen = ctx.dataset.match({schema.SPLIT: "test", schema.LABELED_ROUND: 0}).count()
        if not frozen:
            form.refuse(
                "The split test has no labeled image, so nothing can be measured. Ingest labeled "
                "images with that split."
            )
        form.say(
            f"2 ensembles {estimates.TIMES} {frozen:,} frozen images",
            "Writes nothing into the dataset.",
        )

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Evaluate."""
        done = round_forms.carry_asked(ctx, until="evaluate", bars=bars)
        if "champion" not in done.facts:
            return done
        before, after = (done.facts[one]["mcc"] for one in ("champion", "challenger"))
        shown = [f"{one:.3f}" if one is not None else "not defined" for one in (before, after)]
        return Outcome(
            f"MCC on {done.facts['champion']['n_images']} images: champion {shown[0]}, challenger "
            f"{shown[1]}. The gate says whether that is a difference.",
            done.facts,
        )


def register(plugin: Any) -> None:
    """Hand the operators to FiftyOne; `fiftyone.yml` lists the same names."""
    plugin.register(TrainEnsemble)
    plugin.register(EvaluateEnsemble)
