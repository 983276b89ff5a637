"""FiftyOne panel: registered ensembles, promotion and rollback."""

from typing import Any

from curation.app.panels.base import CurationPanel, ExecutionContext, panel_config
from curation.settings import from_environment


class Registry(CurationPanel):
    """Shows champion, challengers and verdicts; promotes and rolls back after confirmation."""

    page_name = "registry"
    dataset_state = ("pending",)
    config = panel_config(
        name="registry_panel",
        label="Curation: registry",
        icon="verified",
        help_markdown="Ensemble in service and verdicts; promotion and rollback.",
        risk_level="HIGH",  # changes the ensemble in service
    )

    def page_arguments(self, ctx: ExecutionContext) -> tuple[Any, ...]:
        """Return the settings and the move to confirm."""
        return from_environment(), ctx.panel.get_state("pending")

    def ask(self, ctx: ExecutionContext) -> None:
        """Ask to confirm a move; without one, cancel the question."""
        self.set_state(ctx, "pending", ctx.params.get("pending"))

    def ask_row(self, ctx: ExecutionContext) -> None:
        """Ask to confirm the promotion of the version in a row."""
        version = self.page.version_of_row(ctx.dataset, from_environment(), ctx.params["row"])
        self.set_state(ctx, "pending", version)

    def confirm(self, ctx: ExecutionContext) -> None:
        """Carry out the move in the name that was entered."""
        state, settings, name = ctx.panel.get_state, from_environment(), ctx.dataset.name
        by, why, pending = state("by") or "", state("why") or "", state("pending")
        if self.run_action(ctx, lambda: self.page.move(name, settings, pending, by=by, why=why)):
            self.set_state(ctx, "pending", None)


def register(plugin: Any) -> None:
    """Register the panel with FiftyOne."""
    plugin.register(Registry)
