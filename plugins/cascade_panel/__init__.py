"""The App's door to what the ensemble did: tiers, members, agreement, time, failures."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.panels import renderer
from curation.app.panels.base import Door


class Cascade(Door):
    """Shows what each tier and member did; every bar and cell leads to its samples."""

    shows = "cascade"

    @property
    def config(self) -> foo.PanelConfig:
        """How the App lists it."""
        return foo.PanelConfig(
            name="cascade_panel",
            label="Curation: cascade",
            icon="account_tree",
            surfaces="grid",
            category=foo.Categories.CURATE,
            help_markdown="Tiers, members, agreement, time and failures. Click to see samples.",
            risk_level=types.RiskLevel.LOW,
        )

    def count_again(self, ctx: Any) -> None:
        """Count the samples anew."""
        renderer.attempt(ctx, lambda: self.pages.count_again(ctx.dataset))
        self.on_load(ctx)

    def show_tier(self, ctx: Any) -> None:
        """Narrow the grid to what a tier looked at, or where the cascade stopped."""
        tier, trace = ctx.params["y"], ctx.params["trace"]
        renderer.narrow(
            ctx, self.pages.of_tier(ctx.dataset, tier, trace), called=f"{tier}: {trace}"
        )

    def show_member(self, ctx: Any) -> None:
        """Narrow the grid to what the member of a row looked at."""
        name, view = self.pages.seen_by(ctx.dataset, ctx.params["row"])
        renderer.narrow(ctx, view, called=f"seen by {name}", active=(name,))

    def show_member_named(self, ctx: Any) -> None:
        """Narrow the grid to what the member of a bar looked at."""
        name = ctx.params["y"]
        renderer.narrow(ctx, ctx.dataset.exists(name), called=f"seen by {name}", active=(name,))

    def show_disagreement(self, ctx: Any) -> None:
        """Narrow the grid to what one member found and another did not."""
        a, b = ctx.params["y"], ctx.params["x"]
        called = f"{a} found something" + ("" if a == b else f" that {b} did not")
        view = self.pages.found_without(ctx.dataset, a, b)
        renderer.narrow(ctx, view, called=called, active=tuple(dict.fromkeys((a, b))))

    def show_failed(self, ctx: Any) -> None:
        """Narrow the grid to a kind of failure."""
        renderer.narrow(
            ctx, self.pages.failed(ctx.dataset, ctx.params["y"]), called=ctx.params["y"]
        )


def register(plugin: Any) -> None:
    """Hand the panel to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(Cascade)
