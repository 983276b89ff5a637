"""The App's door to one sample: every member beside the others, and who is right."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.panels.base import Door


class Members(Door):
    """Shows, beside an open sample, what every member saw on it."""

    shows = "sample"

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

    def make(self, ctx: Any, dataset: Any) -> Any:
        """Return the page of the sample that is open."""
        return self.pages.page(dataset, ctx.current_sample)

    def on_change_current_sample(self, ctx: Any) -> None:
        """Show the page of the other sample."""
        self.on_load(ctx)


def register(plugin: Any) -> None:
    """Hand the panel to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(Members)
