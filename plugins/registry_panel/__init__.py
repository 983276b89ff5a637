"""The App's door to the registry: what is in service, why, and moving it."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.panels import renderer
from curation.app.panels.base import Door
from curation.settings import from_environment


class Registry(Door):
    """Shows champion, challengers and verdicts; promotes and rolls back, when confirmed."""

    shows = "registry"
    forgets = ("pending",)

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

    def make(self, ctx: Any, dataset: Any) -> Any:
        """Return the page, with what waits for confirmation."""
        return self.pages.page(dataset, from_environment(), ctx.panel.get_state("pending"))

    def ask(self, ctx: Any) -> None:
        """Ask whether a move is meant so; without one, ask nothing more."""
        ctx.panel.set_state("pending", ctx.params.get("pending"))
        self.on_load(ctx)

    def ask_row(self, ctx: Any) -> None:
        """Ask whether the version of a row is to be promoted."""
        version = self.pages.version_of(ctx.dataset, from_environment(), ctx.params["row"])
        ctx.panel.set_state("pending", version)
        self.on_load(ctx)

    def confirm(self, ctx: Any) -> None:
        """Do what was asked, in the name that was given."""
        state, settings, name = ctx.panel.get_state, from_environment(), ctx.dataset.name
        by, why, pending = state("by") or "", state("why") or "", state("pending")
        if renderer.attempt(ctx, lambda: self.pages.move(name, settings, pending, by=by, why=why)):
            ctx.panel.set_state("pending", None)
        self.on_load(ctx)


def register(plugin: Any) -> None:
    """Hand the panel to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(Registry)
