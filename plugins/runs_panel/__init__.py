"""The App's door to queued operations, which open-source FiftyOne shows nowhere."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.panels import renderer
from curation.app.panels.base import Door


class Runs(Door):
    """Shows what is queued, runs, is done or failed; logs, cancel, run again."""

    shows = "runs"
    forgets = ("shown",)

    @property
    def config(self) -> foo.PanelConfig:
        """How the App lists it."""
        return foo.PanelConfig(
            name="runs_panel",
            label="Curation: runs",
            icon="playlist_play",
            surfaces="grid",
            category=foo.Categories.CURATE,
            help_markdown="What is queued, runs, is done or failed; logs, cancel, run again.",
            risk_level=types.RiskLevel.MEDIUM,  # it cancels and reruns
        )

    def make(self, ctx: Any, dataset: Any) -> Any:
        """Return the page, and remember which run is in which row."""
        whose, shown = ctx.panel.get_state("whose") or "here", ctx.panel.get_state("shown")
        found = self.pages.listed(dataset, whose)
        ctx.panel.set_state("ids", [one.id for one in found])
        return self.pages.page(dataset, found, whose, shown)

    def refresh(self, ctx: Any) -> None:
        """Show how things are now."""
        self.on_load(ctx)

    def change(self, ctx: Any) -> None:
        """Show the runs of this dataset, or of all."""
        ctx.panel.set_state("whose", ctx.params["value"])
        self.on_load(ctx)

    def log(self, ctx: Any) -> None:
        """Show the log of a row's run."""
        ctx.panel.set_state("shown", self._run(ctx))
        self.on_load(ctx)

    def close_log(self, ctx: Any) -> None:
        """Show no log."""
        ctx.panel.set_state("shown", None)
        self.on_load(ctx)

    def cancel(self, ctx: Any) -> None:
        """Ask a row's run to end."""
        renderer.attempt(ctx, lambda: self.pages.cancel(self._run(ctx)))
        self.on_load(ctx)

    def rerun(self, ctx: Any) -> None:
        """Queue a row's run again."""
        renderer.attempt(ctx, lambda: self.pages.rerun(self._run(ctx)))
        self.on_load(ctx)

    def _run(self, ctx: Any) -> str:
        return ctx.panel.get_state("ids")[ctx.params["row"]]


def register(plugin: Any) -> None:
    """Hand the panel to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(Runs)
