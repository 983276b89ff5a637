"""The App's door to hardness: how it is distributed, what makes it, where it lies."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.panels import drawing


class Hardness(foo.Panel):
    """Shows how hard samples are; a column, a bar or a lasso leads to its samples."""

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

    def on_load(self, ctx: Any) -> None:
        """Show the page."""
        drawing.show(ctx, lambda dataset: _page().page(dataset))

    def on_change_dataset(self, ctx: Any) -> None:
        """Show the page of the other dataset."""
        self.on_load(ctx)

    def count_again(self, ctx: Any) -> None:
        """Count the samples and draw the plane anew."""
        drawing.attempt(ctx, lambda: _page().count_again(ctx.dataset))
        self.on_load(ctx)

    def show_column(self, ctx: Any) -> None:
        """Narrow the grid to a column of the histogram."""
        low, high = _page().edges(ctx.params["x"], _page().BINS)
        view = _page().between(ctx.dataset, ctx.params["x"])
        drawing.narrow(ctx, view, called=f"hardness {low:.2f} to {high:.2f}")

    def show_part(self, ctx: Any) -> None:
        """Narrow the grid to where a component is greatest."""
        view = _page().greatest(ctx.dataset, ctx.params["y"])
        drawing.narrow(ctx, view, called=f"the greatest disagreement on {ctx.params['y']}")

    def pick(self, ctx: Any) -> None:
        """Narrow the grid to what the lasso holds."""
        cells = [int(one["id"]) for one in ctx.params.get("data") or () if one.get("id")]
        if cells:  # plotly also tells of a lasso that was taken away
            drawing.narrow(ctx, _page().picked(ctx.dataset, cells), called="picked on the plane")

    def pick_one(self, ctx: Any) -> None:
        """Narrow the grid to one mark."""
        view = _page().picked(ctx.dataset, [int(ctx.params["id"])])
        drawing.narrow(ctx, view, called="picked on the plane")

    def tag(self, ctx: Any) -> None:
        """Tag what is selected, else what the grid shows."""
        word = ctx.panel.get_state(_page().TAG)
        if drawing.attempt(ctx, lambda: _page().tag(ctx.dataset, ctx.view, ctx.selected, word)):
            ctx.ops.reload_dataset()

    def render(self, ctx: Any) -> types.Property:
        """Draw what is shown."""
        return drawing.render(self, ctx)


def _page() -> Any:
    from curation.panels import hardness  # takes torch along: not when the App starts

    return hardness


def register(plugin: Any) -> None:
    """Hand the panel to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(Hardness)
