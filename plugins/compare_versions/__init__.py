"""The App's door to comparing: two registered versions, side by side."""

from dataclasses import asdict
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.operators import estimates, version_forms
from curation.app.operators.base import RUN, Door
from curation.app.operators.execution import Outcome


class CompareVersions(Door):
    """Runs two versions on the same samples, each into fields of its own."""

    button = "Compare"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="compare_versions",
            label="Curation: compare two versions",
            description="Run two registered ensembles side by side, and show where they differ",
            icon="compare",
            risk_level=types.RiskLevel.MEDIUM,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the two."""
        known = version_forms.require(form, 2)
        if len(known) < 2:
            return
        first = version_forms.ask(form, "first", "First", alias="champion", known=known)
        second = version_forms.ask(form, "second", "Second", alias="challenger", known=known)
        if first == second:
            form.refuse("Pick two different versions.", "second")
        n = len(ctx.target_view())
        form.say(
            f"2 ensembles {estimates.TIMES} {n:,} samples",
            f"Writes fields such as `consensus__v{first}`.",
        )

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Compare, and show where they decide differently."""
        from curation.api.registry import compare

        given = ctx.params
        pair = (given.get("first") or "champion", given.get("second") or "challenger")
        result = compare(ctx.target_view(), *pair)
        return Outcome(
            f"Of {result.samples} samples ({result.labeled} labeled) versions "
            f"{' and '.join(result.versions)} decide differently on {result.differing}.",
            asdict(result),
            saved_view=result.view,
        )


def register(plugin: Any) -> None:
    """Hand the operator to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(CompareVersions)
