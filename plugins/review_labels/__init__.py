"""The App's door to reviewing labels: which boxes of the ground truth look wrong."""

from dataclasses import asdict
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.operators import round_forms
from curation.app.operators.base import RUN, Door
from curation.app.operators.execution import Outcome
from curation.storage import schema

DEFAULT_LIMIT = 200
VIEW = "review"


class ReviewLabels(Door):
    """Marks the boxes of the ground truth that look wrong, the surest errors first."""

    looks_at = "dataset"
    button = "Look for errors"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="review_labels",
            label="Curation: review labels",
            description="Mark boxes of the ground truth that look wrong",
            icon="fact_check",
            risk_level=types.RiskLevel.MEDIUM,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask whose predictions are believed, and how many boxes to mark."""
        round_forms.read_manifest(
            form, round_forms.ask_manifest(form, about="Whose members to believe")
        )
        form.whole("limit", "Limit", default=DEFAULT_LIMIT, least=1, about="Boxes at most")
        counts = {}
        for name, verb in ((schema.GROUND_TRUTH, "label"), (schema.CONSENSUS, "predict")):
            known = ctx.dataset.get_field(name) is not None
            counts[name] = int(ctx.dataset.exists(name).count()) if known else 0
            if not counts[name]:
                form.refuse(f"No sample has a `{name}` to compare. Run `Curation: {verb}` first.")
        if not form.problems:
            form.say(
                f"Compares the ground truth of up to {min(counts.values()):,} samples with what "
                "the members say",
                f"Writes the tag, the field and the saved view `{VIEW}`; what an earlier call "
                "wrote there is replaced.",
            )

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Review, and show the worst first."""
        from curation.api.labeling import review

        result = review(
            ctx.dataset,
            limit=ctx.params.get("limit") or DEFAULT_LIMIT,
            manifest=ctx.params.get("manifest") or round_forms.DEFAULT_MANIFEST,
        )
        kinds = ", ".join(f"{kind} {n}" for kind, n in result.kinds.items()) or "none"
        return Outcome(
            f"{result.boxes} boxes on {result.samples} of {result.looked_at} samples look wrong "
            f"({kinds}).",
            asdict(result),
            saved_view=VIEW if result.boxes else "",
        )


def register(plugin: Any) -> None:
    """Hand the operator to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(ReviewLabels)
