"""FiftyOne panel: queued operations, which open-source FiftyOne does not show."""

from typing import Any

from curation.app.panels.base import CurationPanel, ExecutionContext, panel_config


class Runs(CurationPanel):
    """Shows queued, running and finished operations, with logs, cancel and rerun."""

    page_name = "runs"
    dataset_state = ("shown",)
    config = panel_config(
        name="runs_panel",
        label="Curation: runs",
        icon="playlist_play",
        help_markdown="Queued, running and finished operations; logs, cancel, run again.",
        risk_level="MEDIUM",  # cancels and reruns
    )

    def page_arguments(self, ctx: ExecutionContext) -> tuple[Any, ...]:
        """Return the runs and their scope; store the run of each row."""
        scope, shown = ctx.panel.get_state("whose") or "here", ctx.panel.get_state("shown")
        runs = self.page.list_runs(ctx.dataset, scope)
        ctx.panel.set_state("ids", [run.id for run in runs])
        return runs, scope, shown

    def refresh(self, ctx: ExecutionContext) -> None:
        """Show the current state."""
        self.on_load(ctx)

    def change(self, ctx: ExecutionContext) -> None:
        """Show the runs of this dataset, or of all."""
        self.set_state(ctx, "whose", ctx.params["value"])

    def log(self, ctx: ExecutionContext) -> None:
        """Show the log of a row's run."""
        self.set_state(ctx, "shown", self._run_id(ctx))

    def close_log(self, ctx: ExecutionContext) -> None:
        """Close the log."""
        self.set_state(ctx, "shown", None)

    def cancel(self, ctx: ExecutionContext) -> None:
        """Cancel a row's run."""
        self.run_action(ctx, lambda: self.page.cancel(self._run_id(ctx)))

    def rerun(self, ctx: ExecutionContext) -> None:
        """Queue a row's run again."""
        self.run_action(ctx, lambda: self.page.rerun(self._run_id(ctx)))

    def _run_id(self, ctx: ExecutionContext) -> str:
        return str(ctx.panel.get_state("ids")[ctx.params["row"]])


def register(plugin: Any) -> None:
    """Register the panel with FiftyOne."""
    plugin.register(Runs)
