"""FiftyOne panel: every member's predictions on the open sample."""

from typing import Any

from curation.app.panels.base import CurationPanel, ExecutionContext, panel_config


class Members(CurationPanel):
    """Shows every member's predictions next to the open sample."""

    page_name = "sample"
    config = panel_config(
        name="sample_panel",
        label="Curation: members",
        icon="compare",
        help_markdown="Every member's predictions on this sample, and their errors.",
        risk_level="LOW",
        surfaces="modal",
    )

    def page_arguments(self, ctx: ExecutionContext) -> tuple[Any, ...]:
        """Return the open sample."""
        return (ctx.current_sample,)

    def on_change_current_sample(self, ctx: ExecutionContext) -> None:
        """Show the page of another sample."""
        self.on_load(ctx)


def register(plugin: Any) -> None:
    """Register the panel with FiftyOne."""
    plugin.register(Members)
