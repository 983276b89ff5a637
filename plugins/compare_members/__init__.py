"""The App's door to one sample: every member beside the others, and who is right."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.panels import drawing


class Members(foo.Panel):
    """Shows, beside an open sample, what every member saw on it."""

    @property
    def config(self) -> foo.PanelConfig:
        """How the App lists it."""
        return foo.PanelConfig(
            name="sample_panel",
            label="Curation: members",
            icon="compare",
            surfaces="modal",
            category=foo.Categories.CURATE,
            help_markdown="What every member saw on this sample, and who is right.",
            risk_level=types.RiskLevel.LOW,
        )

    def on_load(self, ctx: Any) -> None:
        """Show the page."""
        sample = ctx.current_sample
        drawing.show(ctx, lambda dataset: _page().page(dataset, sample))

    def on_change_current_sample(self, ctx: Any) -> None:
        """Show the page of the other sample."""
        self.on_load(ctx)

    def render(self, ctx: Any) -> types.Property:
        """Draw what is shown."""
        return drawing.render(self, ctx)


def _page() -> Any:
    from curation.panels import sample  # takes torch along: not when the App starts

    return sample


def register(plugin: Any) -> None:
    """Hand the panel to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(Members)
