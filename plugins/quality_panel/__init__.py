"""The App's door to quality: who fails where, and whether new images are like those before."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.panels import renderer
from curation.app.panels.base import Door


class Failures(Door):
    """Shows slices by members; a cell leads to the images on which the member failed."""

    shows = "failures"

    @property
    def config(self) -> foo.PanelConfig:
        """How the App lists it."""
        return foo.PanelConfig(
            name="failures_panel",
            label="Curation: failures",
            icon="rule",
            surfaces="grid",
            category=foo.Categories.CURATE,
            help_markdown="Which member fails on which slice, against ground truth. Click a cell.",
            risk_level=types.RiskLevel.MEDIUM,  # comparing writes fields
        )

    def make(self, ctx: Any, dataset: Any) -> Any:
        """Return the page of the failures that are asked for."""
        state = ctx.panel.get_state
        return self.pages.page(dataset, state("what"), state("truth"))

    def change(self, ctx: Any) -> None:
        """Show other failures, or take another field for the truth."""
        ctx.panel.set_state(ctx.params["path"], ctx.params["value"])
        self.on_load(ctx)

    def judge(self, ctx: Any) -> None:
        """Compare every member with the ground truth."""
        truth = ctx.panel.get_state("truth")
        if renderer.attempt(ctx, lambda: self.pages.judge(ctx.dataset, truth)):
            ctx.ops.reload_dataset()
        self.on_load(ctx)

    def show_cell(self, ctx: Any) -> None:
        """Narrow the grid to the failures of a cell."""
        row, member = ctx.params["y"], ctx.params["x"]
        view = self.pages.of_cell(ctx.dataset, row, member, ctx.panel.get_state("what"))
        called = f"{member} failed on {row.rpartition(' (')[0]}"
        renderer.narrow(ctx, view, called=called, active=("ground_truth", member))


class Drift(Door):
    """Shows whether new images are like those before; a column leads to its images."""

    shows = "drift"

    @property
    def config(self) -> foo.PanelConfig:
        """How the App lists it."""
        return foo.PanelConfig(
            name="drift_panel",
            label="Curation: drift",
            icon="moving",
            surfaces="grid",
            category=foo.Categories.CURATE,
            help_markdown="Are the newest images anything like those before?",
            risk_level=types.RiskLevel.LOW,
        )

    def measure(self, ctx: Any) -> None:
        """Compare the newest day, or what the grid shows, with the rest."""
        which = ctx.params["which"]
        renderer.attempt(ctx, lambda: self.pages.measure(ctx.dataset, ctx.view, which))
        self.on_load(ctx)

    def show_column(self, ctx: Any) -> None:
        """Narrow the grid to a column of the histogram."""
        view = self.pages.of_column(ctx.dataset, ctx.params["x"])
        renderer.narrow(ctx, view, called=f"about {ctx.params['x']:.3f} from the nearest known")


def register(plugin: Any) -> None:
    """Hand the panel to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(Failures)
    plugin.register(Drift)
