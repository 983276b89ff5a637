"""The App's door to one round: the batch, labeling, before and after."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.panels import renderer
from curation.app.panels.base import Door
from curation.settings import from_environment


class Rounds(Door):
    """Shows one round; every bar leads to its samples."""

    shows = "rounds"
    forgets = ("round",)

    @property
    def config(self) -> foo.PanelConfig:
        """How the App lists it."""
        return foo.PanelConfig(
            name="round_panel",
            label="Curation: round",
            icon="flag",
            surfaces="grid",
            category=foo.Categories.CURATE,
            help_markdown="The batch of a round, how far labeling is, and what it brought.",
            risk_level=types.RiskLevel.LOW,
        )

    def make(self, ctx: Any, dataset: Any) -> Any:
        """Return the page of the round that is asked for."""
        return self.pages.page(dataset, from_environment().home, ctx.panel.get_state("round"))

    def change(self, ctx: Any) -> None:
        """Show another round."""
        ctx.panel.set_state("round", ctx.params["value"])
        self.on_load(ctx)

    def show_arm(self, ctx: Any) -> None:
        """Narrow the grid to the labeled or waiting samples of an arm."""
        arm, trace = ctx.params["y"], ctx.params["trace"]
        view = self.pages.of_arm(ctx.dataset, self._number(ctx), arm, trace)
        renderer.narrow(ctx, view, called=f"{arm}, {trace}")

    def show_slice(self, ctx: Any) -> None:
        """Narrow the grid to a slice of the batch, or of the dataset."""
        key, trace = ctx.params["y"], ctx.params["trace"]
        view = self.pages.of_slice(ctx.dataset, self._number(ctx), key, trace)
        renderer.narrow(ctx, view, called=f"{key} {trace}")

    def show_changed(self, ctx: Any) -> None:
        """Narrow the grid to where challenger and champion decide differently."""
        view = self.pages.changed(ctx.dataset, from_environment().home, self._number(ctx))
        renderer.narrow(ctx, view, called="decided differently after training")

    def _number(self, ctx: Any) -> str:
        return ctx.panel.get_state("round") or self.pages.last(ctx.dataset, from_environment().home)


def register(plugin: Any) -> None:
    """Hand the panel to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(Rounds)
