"""The App's door to queued operations, which open-source FiftyOne shows nowhere."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.panels import drawing


class Runs(foo.Panel):
    """Shows what is queued, runs, is done or failed; logs, cancel, run again."""

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

    def on_load(self, ctx: Any) -> None:
        """Show the page, and remember which run is in which row."""
        whose, shown = ctx.panel.get_state("whose") or "here", ctx.panel.get_state("shown")

        def page(dataset: Any) -> Any:
            found = _page().listed(dataset, whose)
            ctx.panel.set_state("ids", [one.id for one in found])
            return _page().page(dataset, found, whose, shown)

        drawing.show(ctx, page)

    def on_change_dataset(self, ctx: Any) -> None:
        """Show the page of the other dataset."""
        ctx.panel.set_state("shown", None)
        self.on_load(ctx)

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
        drawing.attempt(ctx, lambda: _page().cancel(self._run(ctx)))
        self.on_load(ctx)

    def rerun(self, ctx: Any) -> None:
        """Queue a row's run again."""
        drawing.attempt(ctx, lambda: _page().rerun(self._run(ctx)))
        self.on_load(ctx)

    def _run(self, ctx: Any) -> str:
        return ctx.panel.get_state("ids")[ctx.params["row"]]

    def render(self, ctx: Any) -> types.Property:
        """Draw what is shown."""
        return drawing.render(self, ctx)


def _page() -> Any:
    from curation.panels import runs  # takes torch along: not when the App starts

    return runs


def register(plugin: Any) -> None:
    """Hand the panel to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(Runs)
