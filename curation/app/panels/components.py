"""The pieces that a panel's page is made of. Plain values: no FiftyOne here.

A page is described once when its content is made, and drawn from the description after every
click, so that a click that only filters the grid counts nothing again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["info", "success", "warning", "error"]
Trace = Mapping[str, Any]


@dataclass(frozen=True)
class Text:
    """Words, as Markdown."""

    name: str
    markdown: str

    @property
    def value(self) -> Any:
        """What is shown."""
        return self.markdown

    def describe(self) -> dict[str, Any]:
        """Return the piece without what it shows."""
        return {"kind": "text", "name": self.name}


@dataclass(frozen=True)
class Notice:
    """One thing to know, in a box."""

    name: str
    label: str
    description: str = ""
    severity: Severity = "info"

    value = None

    def describe(self) -> dict[str, Any]:
        """Return the piece."""
        return {"kind": "notice", **asdict(self)}


@dataclass(frozen=True)
class Plot:
    """A plot whose marks can be clicked.

    Attributes:
        name: Of the piece.
        label: Its heading.
        traces: What plotly draws.
        layout: Plotly's layout, height among it.
        hint: What a click does.
        on_click: The panel's method that a click calls, "" for none.
        on_selected: The one that a lasso or a box calls.
    """

    name: str
    label: str
    traces: Sequence[Trace]
    layout: Mapping[str, Any]
    hint: str = ""
    on_click: str = ""
    on_selected: str = ""

    @property
    def value(self) -> Any:
        """What is drawn."""
        return list(self.traces)

    def describe(self) -> dict[str, Any]:
        """Return the piece without its traces."""
        return {
            "kind": "plot",
            "name": self.name,
            "label": self.label,
            "layout": dict(self.layout),
            "hint": self.hint,
            "on_click": self.on_click,
            "on_selected": self.on_selected,
        }


@dataclass(frozen=True)
class Action:
    """What can be done with a row of a table: a method of the panel, and how it is called."""

    method: str
    label: str
    icon: str
    rows: tuple[bool, ...] | None = None  # which rows have it; None for all


@dataclass(frozen=True)
class Table:
    """Rows of text.

    Attributes:
        name: Of the piece.
        label: Its heading.
        columns: Key and heading of each column.
        rows: The cells by key.
        actions: What can be done with a row; the method gets `row`, its number.
        hint: What the actions do.
    """

    name: str
    label: str
    columns: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]
    actions: tuple[Action, ...] = ()
    hint: str = ""

    @property
    def value(self) -> Any:
        """The cells."""
        return [dict(row) for row in self.rows]

    def describe(self) -> dict[str, Any]:
        """Return the piece without its rows."""
        return {
            "kind": "table",
            "name": self.name,
            "label": self.label,
            "hint": self.hint,
            "columns": dict(self.columns),
            "actions": [asdict(one) for one in self.actions],
        }


@dataclass(frozen=True)
class Button:
    """A button: a method of the panel, and what it is called with."""

    method: str
    label: str
    icon: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    main: bool = False


@dataclass(frozen=True)
class Buttons:
    """Buttons side by side."""

    name: str
    buttons: tuple[Button, ...]

    value = None

    def describe(self) -> dict[str, Any]:
        """Return the piece."""
        return {
            "kind": "buttons",
            "name": self.name,
            "buttons": [asdict(one) for one in self.buttons],
        }


@dataclass(frozen=True)
class Choice:
    """A list to choose one of; what is chosen is the panel's state of that name."""

    name: str
    label: str
    options: Mapping[str, str]
    chosen: str
    on_change: str

    value = None

    def describe(self) -> dict[str, Any]:
        """Return the piece."""
        return {"kind": "choice", **asdict(self)}


@dataclass(frozen=True)
class Entry:
    """A line to write in; what is written is the panel's state of that name."""

    name: str
    label: str
    hint: str = ""

    value = None

    def describe(self) -> dict[str, Any]:
        """Return the piece."""
        return {"kind": "entry", **asdict(self)}


@dataclass(frozen=True)
class Picture:
    """A picture, as a `data:` address, with what it shows in words."""

    name: str
    uri: str
    alt: str

    @property
    def value(self) -> Any:
        """The picture."""
        return self.uri

    def describe(self) -> dict[str, Any]:
        """Return the piece without the picture."""
        return {"kind": "picture", "name": self.name, "alt": self.alt}


@dataclass(frozen=True)
class Timer:
    """Calls a method of the panel again and again while the page is open."""

    name: str
    every_s: float
    method: str

    value = None

    def describe(self) -> dict[str, Any]:
        """Return the piece."""
        return {"kind": "timer", **asdict(self)}


Piece = Text | Notice | Plot | Table | Buttons | Choice | Entry | Picture | Timer


@dataclass(frozen=True)
class Page:
    """What a panel shows, from top to bottom."""

    pieces: tuple[Piece, ...]

    def __post_init__(self) -> None:
        """Refuse two pieces of one name: one would hide the other."""
        names = [one.name for one in self.pieces]
        if len(set(names)) != len(names):
            raise ValueError(f"Every piece needs a name of its own, got {names}.")

    @classmethod
    def of(cls, *pieces: Piece | None) -> Page:
        """Return the page of those pieces that are there."""
        return cls(tuple(one for one in pieces if one is not None))

    @classmethod
    def saying(cls, label: str, description: str, severity: Severity = "info") -> Page:
        """Return a page that only says one thing."""
        return cls((Notice("notice", label, description, severity),))

    def describe(self) -> list[dict[str, Any]]:
        """Return the pieces without what they show: small, for the panel's state."""
        return [one.describe() for one in self.pieces]

    def values(self) -> dict[str, Any]:
        """Return what the pieces show, by their names."""
        return {one.name: one.value for one in self.pieces if one.value is not None}
