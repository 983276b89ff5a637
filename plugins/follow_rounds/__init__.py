"""The App's door to one round: the batch, labeling, before and after."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.panels import drawing
from curation.settings import from_environment


class Rounds(foo.Panel):
    """Shows one round; every bar leads to its samples."""

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

    def on_load(self, ctx: Any) -> None:
        """Show the page."""
        home, number = from_environment().home, ctx.panel.get_state("round")
        drawing.show(ctx, lambda dataset: _page().page(dataset, home, number))

    def on_change_dataset(self, ctx: Any) -> None:
        """Show the page of the other dataset."""
        ctx.panel.set_state("round", None)
        self.on_load(ctx)

    def change(self, ctx: Any) -> None:
        """Show another round."""
        ctx.panel.set_state("round", ctx.params["value"])
        self.on_load(ctx)

    def show_arm(self, ctx: Any) -> None:
        """Narrow the grid to the labeled or waiting samples of an arm."""
        arm, trace = ctx.params["y"], ctx.params["trace"]
        view = _page().of_arm(ctx.dataset, self._number(ctx), arm, trace)
        drawing.narrow(ctx, view, called=f"{arm}, {trace}")

    def show_slice(self, ctx: Any) -> None:
        """Narrow the grid to a slice of the batch, or of the dataset."""
        key, trace = ctx.params["y"], ctx.params["trace"]
        view = _page().of_slice(ctx.dataset, self._number(ctx), key, trace)
        drawing.narrow(ctx, view, called=f"{key} {trace}")

    def show_changed(self, ctx: Any) -> None:
        """Narrow the grid to where challenger and champion decide differently."""
        view = _page().changed(ctx.dataset, from_environment().home, self._number(ctx))
        drawing.narrow(ctx, view, called="decided differently after training")

    def _number(self, ctx: Any) -> str:
        return ctx.panel.get_state("round") or _page().last(ctx.dataset, from_environment().home)

    def render(self, ctx: Any) -> types.Property:
        """Draw what is shown."""
        return drawing.render(self, ctx)


def _page() -> Any:
    from curation.panels import rounds  # takes torch along: not when the App starts

    return rounds


def register(plugin: Any) -> None:
    """Hand the panel to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(Rounds)
