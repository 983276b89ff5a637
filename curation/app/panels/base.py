"""Base class of the App's panels: a page, built when the panel opens and drawn after each event."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import fiftyone.operators as foo
from fiftyone.operators import ExecutionContext

from curation.app.panels import renderer

if TYPE_CHECKING:
    from types import ModuleType

    from fiftyone.operators import types

__all__ = ["CurationPanel", "ExecutionContext", "panel_config"]  # the interface for plugins


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

    def page_arguments(self, ctx: ExecutionContext) -> tuple[Any, ...]:
        """Return the page's arguments after the dataset."""
        return ()

    def on_load(self, ctx: ExecutionContext) -> None:
        """Show the page."""
        renderer.show(ctx, lambda dataset: self.page.build_page(dataset, *self.page_arguments(ctx)))

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
