"""FiftyOne panel: tiers, members, agreement, time and failures of the ensemble."""

from typing import Any

from curation.app.panels.base import CurationPanel, ExecutionContext, panel_config
from curation.app.panels.renderer import narrow_grid


class Cascade(CurationPanel):
    """Shows the work of each tier and member; bars and cells lead to their samples."""

    page_name = "cascade"
    config = panel_config(
        name="cascade_panel",
        label="Curation: cascade",
        icon="account_tree",
        help_markdown="Tiers, members, agreement, time and failures. Click to see samples.",
        risk_level="LOW",
    )

    def recount(self, ctx: ExecutionContext) -> None:
        """Count the samples again."""
        self.run_action(ctx, lambda: self.page.recount(ctx.dataset))

    def show_tier(self, ctx: ExecutionContext) -> None:
        """Show the samples of a bar of the tiers."""
        tier, trace = ctx.params["y"], ctx.params["trace"]
        view = self.page.tier_view(ctx.dataset, tier, trace)
        narrow_grid(ctx, view, description=f"{tier} {trace}")

    def show_member(self, ctx: ExecutionContext) -> None:
        """Show the samples of a row of the members."""
        self._show_member(ctx, self.page.member_of_row(ctx.dataset, ctx.params["row"]))

    def show_member_named(self, ctx: ExecutionContext) -> None:
        """Show the samples of a bar of the members' time."""
        self._show_member(ctx, ctx.params["y"])

    def show_disagreement(self, ctx: ExecutionContext) -> None:
        """Show the samples with objects that one member detects and another misses."""
        a, b = ctx.params["y"], ctx.params["x"]
        view = self.page.disagreement_view(ctx.dataset, a, b)
        description = f"detected by {a}" + ("" if a == b else f", missed by {b}")
        narrow_grid(ctx, view, description=description, fields=tuple(dict.fromkeys((a, b))))

    def show_failures(self, ctx: ExecutionContext) -> None:
        """Show the samples with a kind of failure."""
        kind = ctx.params["y"]
        narrow_grid(ctx, self.page.failure_view(ctx.dataset, kind), description=kind)

    def _show_member(self, ctx: ExecutionContext, name: str) -> None:
        view = ctx.dataset.exists(name)
        narrow_grid(ctx, view, description=f"predicted by {name}", fields=(name,))


def register(plugin: Any) -> None:
    """Register the panel with FiftyOne."""
    plugin.register(Cascade)
