"""The App's door to the report: a round's page, written and named."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.operators import options, round_forms
from curation.app.operators.base import RUN, Door
from curation.app.operators.execution import Outcome


class ReportRound(Door):
    """Writes the page of a round, as far as the round went."""

    looks_at = "dataset"
    button = "Write it"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="report_round",
            label="Curation: report",
            description="Write the page of a round: what was chosen and why, before and after",
            icon="article",
            risk_level=types.RiskLevel.LOW,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the round."""
        round_forms.ask_round(form, default=options.last_round(ctx.dataset))
        form.say("Writes one HTML file", "An earlier page of the round is replaced.")

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Write it."""
        from curation.api.rounds import report

        number = ctx.params.get("round_number") or options.last_round(ctx.dataset)
        page = report(ctx.dataset, number)
        return Outcome(
            f"The page of round {number} is written: {page}", {"page": str(page)}, wrote=False
        )


def register(plugin: Any) -> None:
    """Hand the operator to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(ReportRound)
