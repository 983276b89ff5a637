"""The App's door to quality: who fails where, and whether new images are like those before."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.panels import drawing


class Failures(foo.Panel):
    """Shows slices by members; a cell leads to the images on which the member failed."""

    @property
    def config(self) -> foo.PanelConfig:
        """How the App lists it."""
        return foo.PanelConfig(
            name="failures_panel",
            label="Curation: failures",
            icon="rule",
            surfaces="grid",
            category=foo.Categories.CURATE,
            help_markdown="Which member fails on which slice, against ground truth. Click a cell.",
            risk_level=types.RiskLevel.MEDIUM,  # comparing writes fields
        )

    def on_load(self, ctx: Any) -> None:
        """Show the page."""
        what, truth = ctx.panel.get_state("what"), ctx.panel.get_state("truth")
        drawing.show(ctx, lambda dataset: _failures().page(dataset, what, truth))

    def on_change_dataset(self, ctx: Any) -> None:
        """Show the page of the other dataset."""
        self.on_load(ctx)

    def change(self, ctx: Any) -> None:
        """Show other failures, or take another field for the truth."""
        ctx.panel.set_state(ctx.params["path"], ctx.params["value"])
        self.on_load(ctx)

    def judge(self, ctx: Any) -> None:
        """Compare every member with the ground truth."""
        truth = ctx.panel.get_state("truth")
        if drawing.attempt(ctx, lambda: _failures().judge(ctx.dataset, truth)):
            ctx.ops.reload_dataset()
        self.on_load(ctx)

    def show_cell(self, ctx: Any) -> None:
        """Narrow the grid to the failures of a cell."""
        row, member = ctx.params["y"], ctx.params["x"]
        view = _failures().of_cell(ctx.dataset, row, member, ctx.panel.get_state("what"))
        called = f"{member} failed on {row.rpartition(' (')[0]}"
        drawing.narrow(ctx, view, called=called, active=("ground_truth", member))

    def render(self, ctx: Any) -> types.Property:
        """Draw what is shown."""
        return drawing.render(self, ctx)


class Drift(foo.Panel):
    """Shows whether new images are like those before; a column leads to its images."""

    @property
    def config(self) -> foo.PanelConfig:
        """How the App lists it."""
        return foo.PanelConfig(
            name="drift_panel",
            label="Curation: drift",
            icon="moving",
            surfaces="grid",
            category=foo.Categories.CURATE,
            help_markdown="Are the newest images anything like those before?",
            risk_level=types.RiskLevel.LOW,
        )

    def on_load(self, ctx: Any) -> None:
        """Show the page."""
        drawing.show(ctx, lambda dataset: _drift().page(dataset))

    def on_change_dataset(self, ctx: Any) -> None:
        """Show the page of the other dataset."""
        self.on_load(ctx)

    def measure(self, ctx: Any) -> None:
        """Compare the newest day, or what the grid shows, with the rest."""
        which = ctx.params["which"]
        drawing.attempt(ctx, lambda: _drift().measure(ctx.dataset, ctx.view, which))
        self.on_load(ctx)

    def show_column(self, ctx: Any) -> None:
        """Narrow the grid to a column of the histogram."""
        view = _drift().of_column(ctx.dataset, ctx.params["x"])
        drawing.narrow(ctx, view, called=f"about {ctx.params['x']:.3f} from the nearest known")

    def render(self, ctx: Any) -> types.Property:
        """Draw what is shown."""
        return drawing.render(self, ctx)


def _failures() -> Any:
    from curation.panels import failures  # takes torch along: not when the App starts

    return failures


def _drift() -> Any:
    from curation.panels import drift

    return drift


def register(plugin: Any) -> None:
    """Hand the panel to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(Failures)
    plugin.register(Drift)
