"""FiftyOne panel: one round's batch, labeling and metrics."""

from typing import Any

from curation.app.panels.base import CurationPanel, ExecutionContext, panel_config
from curation.app.panels.renderer import narrow_grid
from curation.settings import from_environment


class Rounds(CurationPanel):
    """Shows one round; every bar leads to its samples."""

    page_name = "rounds"
    dataset_state = ("round",)
    config = panel_config(
        name="round_panel",
        label="Curation: round",
        icon="flag",
        help_markdown="The batch of a round, its labeling, and metrics before and after.",
        risk_level="LOW",
    )

    def page_arguments(self, ctx: ExecutionContext) -> tuple[Any, ...]:
        """Return home folder and selected round."""
        return from_environment().home, ctx.panel.get_state("round")

    def change(self, ctx: ExecutionContext) -> None:
        """Select another round."""
        self.set_state(ctx, "round", ctx.params["value"])

    def show_arm(self, ctx: ExecutionContext) -> None:
        """Show the labeled or the waiting samples of an arm."""
        arm, trace = ctx.params["y"], ctx.params["trace"]
        view = self.page.arm_view(ctx.dataset, self._number(ctx), arm, trace)
        narrow_grid(ctx, view, description=f"{arm}, {trace}")

    def show_slice(self, ctx: ExecutionContext) -> None:
        """Show a slice of the batch, or of the dataset."""
        label, trace = ctx.params["y"], ctx.params["trace"]
        view = self.page.slice_view(ctx.dataset, self._number(ctx), label, trace)
        narrow_grid(ctx, view, description=f"{label} {trace}")

    def show_changed(self, ctx: ExecutionContext) -> None:
        """Show the images on which challenger and champion decide differently."""
        view = self.page.changed_view(ctx.dataset, from_environment().home, self._number(ctx))
        narrow_grid(ctx, view, description="different decisions after training")

    def _number(self, ctx: ExecutionContext) -> str:
        number: str | None = ctx.panel.get_state("round")
        return number or str(self.page.last_round(ctx.dataset, from_environment().home))


def register(plugin: Any) -> None:
    """Register the panel with FiftyOne."""
    plugin.register(Rounds)
