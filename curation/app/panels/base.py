"""Base class of the App's panels: a page, built when the panel opens and drawn after each event."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import fiftyone.operators as foo

from curation.app.panels import renderer

if TYPE_CHECKING:
    from types import ModuleType

    from fiftyone import Dataset
    from fiftyone.operators import ExecutionContext, types

    from curation.app.panels.components import Page


def panel_config(
    *, name: str, label: str, icon: str, help_markdown: str, risk_level: str, surfaces: str = "grid"
) -> foo.PanelConfig:
    """Return the configuration of a panel of ours.

    Args:
        name: As listed in `fiftyone.yml`.
        label: Label in the App.
        icon: Name of a Material icon.
        help_markdown: One sentence for the tooltip.
        risk_level: `LOW`, `MEDIUM`, `HIGH` or `DANGEROUS`.
        surfaces: `grid` or `modal`.
    """
    return foo.PanelConfig(
        name=name, label=label, icon=icon, help_markdown=help_markdown, risk_level=risk_level,
        surfaces=surfaces, category=foo.Categories.CURATE,
    )  # fmt: skip


class CurationPanel(foo.Panel):  # type: ignore[misc]  # FiftyOne is untyped
    """A panel with a page from `curation.app.panels.pages`.

    Attributes:
        page_name: Name of the page's module; imported on access, since pages import torch.
        dataset_state: State keys to clear when another dataset is opened.
    """

    page_name: str
    dataset_state: tuple[str, ...] = ()

    @property
    def page(self) -> ModuleType:
        """The page's module."""
        return import_module(f"curation.app.panels.pages.{self.page_name}")

    def build_page(self, ctx: ExecutionContext, dataset: Dataset) -> Page:
        """Return the page of a dataset."""
        return self.page.build_page(dataset)

    def on_load(self, ctx: ExecutionContext) -> None:
        """Show the page."""
        renderer.show(ctx, lambda dataset: self.build_page(ctx, dataset))

    def on_change_dataset(self, ctx: ExecutionContext) -> None:
        """Show the page of the newly opened dataset."""
        for key in self.dataset_state:
            ctx.panel.set_state(key, None)
        self.on_load(ctx)

    def render(self, ctx: ExecutionContext) -> types.Property:
        """Draw the current page."""
        return renderer.render(self, ctx)

    def run_action(self, ctx: ExecutionContext, action: Callable[[], str]) -> bool:
        """Run an action, notify the user and show the page again; return whether it succeeded."""
        is_done = renderer.run_action(ctx, action)
        self.on_load(ctx)
        return is_done

    def set_state(self, ctx: ExecutionContext, key: str, value: Any) -> None:
        """Set a state of the panel and show the page again."""
        ctx.panel.set_state(key, value)
        self.on_load(ctx)
