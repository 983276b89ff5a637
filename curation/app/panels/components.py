"""Components of a panel's page, as plain values without FiftyOne.

A page is built once for its content. Its description, without the content, is kept in the panel's
state and drawn after every click, which saves counting again for a click that filters the grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal

Severity = Literal["info", "success", "warning", "error"]
Trace = Mapping[str, Any]


@dataclass(frozen=True)
class Component:
    """A part of a page.

    Attributes:
        kind: The component's type, for the renderer.
        content: Name of the attribute that is sent as panel data; "" for none.
        name: Unique name within the page.
    """

    kind: ClassVar[str]
    content: ClassVar[str] = ""
    name: str

    @property
    def value(self) -> Any:
        """Content for the panel's data, or None."""
        return getattr(self, self.content) if self.content else None

    def describe(self) -> dict[str, Any]:
        """Return the component as plain values without its content."""
        without: dict[str, Any] = {self.content: ()} if self.content else {}
        description = asdict(replace(self, **without))  # the content may be large to copy
        return {"kind": self.kind} | {
            key: value for key, value in description.items() if key != self.content
        }


@dataclass(frozen=True)
class Text(Component):
    """Markdown text."""

    kind = "text"
    content = "markdown"
    markdown: str


@dataclass(frozen=True)
class Notice(Component):
    """A message in a box."""

    kind = "notice"
    label: str
    description: str = ""
    severity: Severity = "info"


@dataclass(frozen=True)
class Plot(Component):
    """A Plotly chart with clickable marks.

    Attributes:
        label: Heading.
        traces: Plotly traces.
        layout: Plotly layout, including the height.
        hint: Effect of a click.
        on_click: The panel's method for a click, "" for none.
        on_selected: The panel's method for a lasso or box selection, "" for none.
    """

    kind = "plot"
    content = "traces"
    label: str
    traces: Sequence[Trace]
    layout: Mapping[str, Any]
    hint: str = ""
    on_click: str = ""
    on_selected: str = ""


@dataclass(frozen=True)
class Action:
    """An action on a table row: a method of the panel, with label and icon."""

    method: str
    label: str
    icon: str
    rows: tuple[bool, ...] | None = None  # mask of the rows that offer it; None for all


@dataclass(frozen=True)
class Table(Component):
    """Rows of text.

    Attributes:
        label: Heading.
        columns: Key and heading of each column.
        rows: Cells by key.
        actions: Actions on a row; the method gets `row`, the row's index.
        hint: Effect of the actions.
    """

    kind = "table"
    content = "rows"
    label: str
    columns: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]
    actions: tuple[Action, ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class Button:
    """A button: a method of the panel, and its parameters."""

    method: str
    label: str
    icon: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    primary: bool = False


@dataclass(frozen=True)
class Buttons(Component):
    """A row of buttons."""

    kind = "buttons"
    buttons: tuple[Button, ...]


@dataclass(frozen=True)
class Choice(Component):
    """A dropdown; the selected value is the panel state of the same name."""

    kind = "choice"
    label: str
    options: Mapping[str, str]
    selected: str
    on_change: str


@dataclass(frozen=True)
class TextInput(Component):
    """A line of text; its value is the panel state of the same name."""

    kind = "text_input"
    label: str
    hint: str = ""


@dataclass(frozen=True)
class Picture(Component):
    """An image as a `data:` URI, with alternative text."""

    kind = "picture"
    content = "uri"
    uri: str
    alt: str


@dataclass(frozen=True)
class Timer(Component):
    """Repeated calls of a method of the panel while the page is open."""

    kind = "timer"
    every_s: float
    method: str


@dataclass(frozen=True)
class Page:
    """The components of a panel, top to bottom."""

    components: tuple[Component, ...]

    def __post_init__(self) -> None:
        """Reject duplicate names: one component would hide the other."""
        names = [component.name for component in self.components]
        if len(set(names)) != len(names):
            raise ValueError(f"Component names must be unique within a page, got {names}.")

    @classmethod
    def of(cls, *components: Component | None) -> Page:
        """Return a page of the components that are not None."""
        return cls(tuple(component for component in components if component is not None))

    @classmethod
    def message(cls, label: str, description: str, severity: Severity = "info") -> Page:
        """Return a page with a single notice."""
        return cls((Notice("notice", label, description, severity),))

    def describe(self) -> list[dict[str, Any]]:
        """Return the components without their content: small, for the panel's state."""
        return [component.describe() for component in self.components]

    def values(self) -> dict[str, Any]:
        """Return the content of the components by name."""
        return {
            component.name: component.value for component in self.components if component.content
        }
