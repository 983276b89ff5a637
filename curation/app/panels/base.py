"""What the App's panels share: a page that is made when one opens, and drawn after each event."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import fiftyone.operators as foo

from curation.app.panels import renderer

if TYPE_CHECKING:
    from fiftyone import Dataset


class Door(foo.Panel):  # type: ignore[misc]  # FiftyOne has no types
    """A panel whose page a module beside this one makes.

    Attributes:
        shows: The module's name; imported when a page is made, as it takes torch along.
        forgets: State that is of one dataset: another one starts without it.
    """

    shows: str
    forgets: tuple[str, ...] = ()

    @property
    def pages(self) -> Any:
        """The module that makes the page."""
        return import_module(f"curation.app.panels.pages.{self.shows}")

    def make(self, ctx: Any, dataset: Dataset) -> Any:
        """Return the page of a dataset."""
        return self.pages.page(dataset)

    def on_load(self, ctx: Any) -> None:
        """Show the page."""
        renderer.show(ctx, lambda dataset: self.make(ctx, dataset))

    def on_change_dataset(self, ctx: Any) -> None:
        """Show the page of the other dataset."""
        for name in self.forgets:
            ctx.panel.set_state(name, None)
        self.on_load(ctx)

    def render(self, ctx: Any) -> Any:
        """Draw what is shown."""
        return renderer.render(self, ctx)
