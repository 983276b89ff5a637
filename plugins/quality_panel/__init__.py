"""FiftyOne panels: errors by slice and member, and drift of new images."""

from typing import Any

from curation.app.panels.base import CurationPanel, ExecutionContext, panel_config
from curation.app.panels.renderer import narrow_grid
from curation.storage import schema


class Failures(CurationPanel):
    """Shows errors by slice and member; a cell leads to its images."""

    page_name = "failures"
    config = panel_config(
        name="failures_panel",
        label="Curation: failures",
        icon="rule",
        help_markdown="Errors of each member on each slice, against ground truth. Click a cell.",
        risk_level="MEDIUM",  # comparing writes fields
    )

    def page_arguments(self, ctx: ExecutionContext) -> tuple[Any, ...]:
        """Return the selected kind of error and ground truth."""
        return ctx.panel.get_state("what"), ctx.panel.get_state("truth")

    def change(self, ctx: ExecutionContext) -> None:
        """Select another kind of error, or another ground truth."""
        self.set_state(ctx, ctx.params["path"], ctx.params["value"])

    def compare(self, ctx: ExecutionContext) -> None:
        """Compare every member with the ground truth."""
        truth = ctx.panel.get_state("truth")
        if self.run_action(ctx, lambda: self.page.compare(ctx.dataset, truth)):
            ctx.ops.reload_dataset()

    def show_cell(self, ctx: ExecutionContext) -> None:
        """Show the images of a cell."""
        row, member = ctx.params["y"], ctx.params["x"]
        view = self.page.cell_view(ctx.dataset, row, member, ctx.panel.get_state("what"))
        description = f"errors of {member} on {row.rpartition(' (')[0]}"
        narrow_grid(ctx, view, description=description, fields=(schema.GROUND_TRUTH, member))


class Drift(CurationPanel):
    """Shows whether new images resemble earlier ones; a column leads to its images."""

    page_name = "drift"
    config = panel_config(
        name="drift_panel",
        label="Curation: drift",
        icon="moving",
        help_markdown="Distance of the newest images to earlier ones. Click a column.",
        risk_level="LOW",
    )

    def measure(self, ctx: ExecutionContext) -> None:
        """Compare the newest day, or the images in the grid, with all others."""
        selection = ctx.params["selection"]
        self.run_action(ctx, lambda: self.page.measure(ctx.dataset, ctx.view, selection))

    def show_column(self, ctx: ExecutionContext) -> None:
        """Show the images of a column of the histogram."""
        distance = ctx.params["x"]
        view = self.page.column_view(ctx.dataset, distance)
        narrow_grid(ctx, view, description=f"distance of about {distance:.3f} to earlier images")


def register(plugin: Any) -> None:
    """Register the panels with FiftyOne."""
    plugin.register(Failures)
    plugin.register(Drift)
