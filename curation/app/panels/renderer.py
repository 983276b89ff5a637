"""A page as FiftyOne draws panels: what a panel shows, and what its events do.

`show` puts a page into the panel's state and data; `render` draws it from there. Expected errors
become words on the page: a panel never shows a traceback for what the user can mend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cascade.errors import CascadeError
from curation.app.panels.components import Page
from curation.errors import CurationError

if TYPE_CHECKING:
    from fiftyone import DatasetView

_PAGE = "page"  # state: the description of what is shown
_WIDE = {"container": {"sx": {"width": "100%"}}}
# One column as wide as the panel: left alone, the widest table would set the width of all.
_FRAME = {
    "container": {"sx": {"padding": "12px 16px 32px"}},
    "grid": {"sx": {"gridTemplateColumns": "minmax(0, 1fr)"}},
}
_STILL = {"displayModeBar": False, "scrollZoom": False}
_LASSO = {
    "displaylogo": False,
    "displayModeBar": True,
    "modeBarButtonsToRemove": ["toImage", "zoomIn2d", "zoomOut2d", "autoScale2d"],
}
_CELL = {"sx": {"fontSize": "0.82rem", "padding": "4px 6px"}}


def show(ctx: Any, make: Callable[[Any], Page]) -> None:
    """Show the page that `make` makes of the dataset that is open."""
    if ctx.dataset is None:
        page = Page.saying("No dataset is open", "Open one to see its figures.")
    else:
        try:
            page = make(ctx.dataset)
        except (CurationError, CascadeError) as error:
            page = Page.saying("This cannot be shown now", str(error), "warning")
    for name, value in page.values().items():
        ctx.panel.set_data(name, value)
    ctx.panel.set_state(_PAGE, page.describe())


def narrow(ctx: Any, view: DatasetView, *, called: str, active: tuple[str, ...] = ()) -> None:
    """Have the grid show a view, unless it is empty.

    Args:
        ctx: FiftyOne's context.
        view: What to show.
        called: What these samples are, for the message.
        active: Fields to draw, none for those that are drawn already.
    """
    n = view.count()
    if not n:
        ctx.ops.notify(f"No sample: {called}.", variant="warning")
        return
    ctx.ops.set_view(view)
    if active:
        ctx.ops.set_active_fields(list(active))
    ctx.ops.notify(f"{n:,} {'sample' if n == 1 else 'samples'}: {called}.", variant="success")


def attempt(ctx: Any, act: Callable[[], str]) -> bool:
    """Do something, and tell what came of it; return whether it was done."""
    try:
        said = act()
    except (CurationError, CascadeError) as error:
        ctx.ops.notify(str(error), variant="error")
        return False
    ctx.ops.notify(said, variant="success")
    return True


def render(panel: Any, ctx: Any) -> Any:
    """Return the page that is shown as FiftyOne's types.

    Args:
        panel: Whose methods the pieces name.
        ctx: FiftyOne's context.
    """
    from fiftyone.operators import types

    root = types.Object()
    for piece in ctx.panel.get_state(_PAGE) or ():
        _DRAWN[piece["kind"]](root, panel, piece)
    view = types.GridView(orientation="vertical", gap=2, componentsProps=_FRAME)
    return types.Property(root, view=view)


def _text(root: Any, panel: Any, piece: Mapping[str, Any]) -> None:
    from fiftyone.operators import types

    root.str(piece["name"], view=types.MarkdownView(read_only=True, componentsProps=_WIDE))


def _notice(root: Any, panel: Any, piece: Mapping[str, Any]) -> None:
    from fiftyone.operators import types

    box = types.AlertView(
        label=piece["label"], description=piece["description"], severity=piece["severity"]
    )
    root.view(piece["name"], box)


def _plot(root: Any, panel: Any, piece: Mapping[str, Any]) -> None:
    events = {name: piece[name] for name in ("on_click", "on_selected") if piece[name]}
    root.plot(
        piece["name"],
        label=piece["label"],
        description=piece["hint"],
        layout=piece["layout"],
        config=_LASSO if piece["on_selected"] else _STILL,
        **{name: getattr(panel, method) for name, method in events.items()},
    )


def _table(root: Any, panel: Any, piece: Mapping[str, Any]) -> None:
    from fiftyone.operators import types

    tight = {
        "table": {"sx": {"minWidth": 0}},
        "tableContainer": {"sx": {"overflowX": "auto"}},
        "tableHeadCell": _CELL,
        "tableBodyCell": _CELL,
    }
    table = types.TableView(
        label=piece["label"],
        description=piece["hint"],
        max_inline_actions=max(len(piece["actions"]), 1),
        actions_label=" ",
        componentsProps=tight,
    )
    for key, heading in piece["columns"].items():
        table.add_column(key, label=heading)
    for one in piece["actions"]:
        rows = {} if one["rows"] is None else {"rows": list(one["rows"])}
        table.add_row_action(
            one["method"], on_click=getattr(panel, one["method"]), icon=one["icon"],
            tooltip=one["label"], **rows,
        )  # fmt: skip
    root.list(piece["name"], types.Object(), view=table)


def _buttons(root: Any, panel: Any, piece: Mapping[str, Any]) -> None:
    row = root.h_stack(piece["name"], gap=1, align_x="left")
    for i, one in enumerate(piece["buttons"]):
        row.btn(
            f"{piece['name']}_{i}",
            label=one["label"],
            icon=one["icon"] or None,
            variant="contained" if one["main"] else "outlined",
            on_click=getattr(panel, one["method"]),
            params=dict(one["params"]),
        )


def _choice(root: Any, panel: Any, piece: Mapping[str, Any]) -> None:
    from fiftyone.operators import types

    options = types.DropdownView(compact=True)
    for value, label in piece["options"].items():
        options.add_choice(value, label=label)
    root.enum(
        piece["name"],
        options.values(),
        label=piece["label"],
        default=piece["chosen"],
        view=options,
        on_change=getattr(panel, piece["on_change"]),
    )


def _entry(root: Any, panel: Any, piece: Mapping[str, Any]) -> None:
    root.str(piece["name"], label=piece["label"], description=piece["hint"])


def _picture(root: Any, panel: Any, piece: Mapping[str, Any]) -> None:
    root.img(piece["name"], alt_text=piece["alt"], width="100%", point_on_hover=False)


def _timer(root: Any, panel: Any, piece: Mapping[str, Any]) -> None:
    from fiftyone.operators import types

    clock = types.TimerView(
        interval=round(1000 * piece["every_s"]), on_interval=getattr(panel, piece["method"])
    )
    root.view(piece["name"], clock)


_DRAWN = {
    "text": _text,
    "notice": _notice,
    "plot": _plot,
    "table": _table,
    "buttons": _buttons,
    "choice": _choice,
    "entry": _entry,
    "picture": _picture,
    "timer": _timer,
}
