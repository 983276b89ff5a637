"""The App's door to the registry: what is in service, why, and moving it."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.panels import drawing
from curation.settings import from_environment


class Registry(foo.Panel):
    """Shows champion, challengers and verdicts; promotes and rolls back, when confirmed."""

    @property
    def config(self) -> foo.PanelConfig:
        """How the App lists it."""
        return foo.PanelConfig(
            name="registry_panel",
            label="Curation: registry",
            icon="verified",
            surfaces="grid",
            category=foo.Categories.CURATE,
            help_markdown="What is in service and why; promotion and rollback, when confirmed.",
            risk_level=types.RiskLevel.HIGH,  # it moves what is in service
        )

    def on_load(self, ctx: Any) -> None:
        """Show the page."""
        settings, pending = from_environment(), ctx.panel.get_state("pending")
        drawing.show(ctx, lambda dataset: _page().page(dataset, settings, pending))

    def on_change_dataset(self, ctx: Any) -> None:
        """Show the page of the other dataset."""
        ctx.panel.set_state("pending", None)
        self.on_load(ctx)

    def ask(self, ctx: Any) -> None:
        """Ask whether a move is meant so; without one, ask nothing more."""
        ctx.panel.set_state("pending", ctx.params.get("pending"))
        self.on_load(ctx)

    def ask_row(self, ctx: Any) -> None:
        """Ask whether the version of a row is to be promoted."""
        version = _page().version_of(ctx.dataset, from_environment(), ctx.params["row"])
        ctx.panel.set_state("pending", version)
        self.on_load(ctx)

    def confirm(self, ctx: Any) -> None:
        """Do what was asked, in the name that was given."""
        state, settings, name = ctx.panel.get_state, from_environment(), ctx.dataset.name
        by, why, pending = state("by") or "", state("why") or "", state("pending")
        if drawing.attempt(ctx, lambda: _page().move(name, settings, pending, by=by, why=why)):
            ctx.panel.set_state("pending", None)
        self.on_load(ctx)

    def render(self, ctx: Any) -> types.Property:
        """Draw what is shown."""
        return drawing.render(self, ctx)


def _page() -> Any:
    from curation.panels import registry  # takes torch along: not when the App starts

    return registry


def register(plugin: Any) -> None:
    """Hand the panel to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(Registry)
