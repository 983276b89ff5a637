"""FiftyOne panel: distribution, components and map of hardness."""

from typing import Any

from curation.app.panels.base import CurationPanel, ExecutionContext, panel_config
from curation.app.panels.renderer import narrow_grid


class Hardness(CurationPanel):
    """Shows the hardness of samples; a column, a bar or a lasso leads to its samples."""

    page_name = "hardness"
    config = panel_config(
        name="hardness_panel",
        label="Curation: hardness",
        icon="insights",
        help_markdown="Hardness: distribution, components and map. Click or draw a lasso.",
        risk_level="MEDIUM",  # tags samples
    )

    def recount(self, ctx: ExecutionContext) -> None:
        """Count the samples and compute the map again."""
        self.run_action(ctx, lambda: self.page.recount(ctx.dataset))

    def show_column(self, ctx: ExecutionContext) -> None:
        """Show the samples of a column of the histogram."""
        low, high = self.page.column_edges(ctx.params["x"], self.page.BINS)
        view = self.page.column_view(ctx.dataset, ctx.params["x"])
        narrow_grid(ctx, view, description=f"hardness {low:.2f} to {high:.2f}")

    def show_component(self, ctx: ExecutionContext) -> None:
        """Show the samples with the highest value of a component."""
        component = ctx.params["y"]
        view = self.page.component_view(ctx.dataset, component)
        narrow_grid(ctx, view, description=f"highest disagreement on {component}")

    def select_cells(self, ctx: ExecutionContext) -> None:
        """Show the samples in a lasso; Plotly also reports the removal of a lasso."""
        cells = [int(mark["id"]) for mark in ctx.params.get("data") or () if mark.get("id")]
        if cells:
            self._show_cells(ctx, cells)

    def select_cell(self, ctx: ExecutionContext) -> None:
        """Show the samples of one mark."""
        self._show_cells(ctx, [int(ctx.params["id"])])

    def tag(self, ctx: ExecutionContext) -> None:
        """Tag the selected samples, or the whole grid."""
        label = ctx.panel.get_state(self.page.TAG)
        if self.run_action(ctx, lambda: self.page.tag(ctx.dataset, ctx.view, ctx.selected, label)):
            ctx.ops.reload_dataset()

    def _show_cells(self, ctx: ExecutionContext, cells: list[int]) -> None:
        view = self.page.cells_view(ctx.dataset, cells)
        narrow_grid(ctx, view, description="selected on the map")


def register(plugin: Any) -> None:
    """Register the panel with FiftyOne."""
    plugin.register(Hardness)
