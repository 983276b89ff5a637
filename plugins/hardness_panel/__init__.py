"""The App's door to hardness: how it is distributed, what makes it, where it lies."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.panels import renderer
from curation.app.panels.base import Door


class Hardness(Door):
    """Shows how hard samples are; a column, a bar or a lasso leads to its samples."""

    shows = "hardness"

    @property
    def config(self) -> foo.PanelConfig:
        """How the App lists it."""
        return foo.PanelConfig(
            name="hardness_panel",
            label="Curation: hardness",
            icon="insights",
            surfaces="grid",
            category=foo.Categories.CURATE,
            help_markdown="How hard samples are, why, and where they lie. Click or draw a lasso.",
            risk_level=types.RiskLevel.MEDIUM,  # it tags samples
        )

    def count_again(self, ctx: Any) -> None:
        """Count the samples and draw the plane anew."""
        renderer.attempt(ctx, lambda: self.pages.count_again(ctx.dataset))
        self.on_load(ctx)

    def show_column(self, ctx: Any) -> None:
        """Narrow the grid to a column of the histogram."""
        low, high = self.pages.edges(ctx.params["x"], self.pages.BINS)
        view = self.pages.between(ctx.dataset, ctx.params["x"])
        renderer.narrow(ctx, view, called=f"hardness {low:.2f} to {high:.2f}")

    def show_part(self, ctx: Any) -> None:
        """Narrow the grid to where a component is greatest."""
        view = self.pages.greatest(ctx.dataset, ctx.params["y"])
        renderer.narrow(ctx, view, called=f"the greatest disagreement on {ctx.params['y']}")

    def pick(self, ctx: Any) -> None:
        """Narrow the grid to what the lasso holds."""
        cells = [int(one["id"]) for one in ctx.params.get("data") or () if one.get("id")]
        if cells:  # plotly also tells of a lasso that was taken away
            renderer.narrow(
                ctx, self.pages.picked(ctx.dataset, cells), called="picked on the plane"
            )

    def pick_one(self, ctx: Any) -> None:
        """Narrow the grid to one mark."""
        view = self.pages.picked(ctx.dataset, [int(ctx.params["id"])])
        renderer.narrow(ctx, view, called="picked on the plane")

    def tag(self, ctx: Any) -> None:
        """Tag what is selected, else what the grid shows."""
        word = ctx.panel.get_state(self.pages.TAG)
        if renderer.attempt(ctx, lambda: self.pages.tag(ctx.dataset, ctx.view, ctx.selected, word)):
            ctx.ops.reload_dataset()


def register(plugin: Any) -> None:
    """Hand the panel to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(Hardness)
