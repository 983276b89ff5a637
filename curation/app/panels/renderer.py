"""Rendering of pages with FiftyOne's panel types, and responses to panel events.

`show` stores a page in the panel's state and data; `render` draws it from there. Expected errors
are shown on the page: a panel never shows a traceback for an error that the user can fix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fiftyone.operators import types

from cascade.errors import CascadeError
from curation import formatting
from curation.app.panels.components import Page
from curation.errors import CurationError

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView
    from fiftyone.operators import ExecutionContext, Panel

Description = Mapping[str, Any]  # of a component

_PAGE = "page"  # state key of the page's description
_FULL_WIDTH = {"container": {"sx": {"width": "100%"}}}
# One column as wide as the panel; by default the widest table would set the width of all.
_FRAME = {
    "container": {"sx": {"padding": "12px 16px 32px"}},
    "grid": {"sx": {"gridTemplateColumns": "minmax(0, 1fr)"}},
}
_STATIC = {"displayModeBar": False, "scrollZoom": False}
_LASSO = {
    "displaylogo": False,
    "displayModeBar": True,
    "modeBarButtonsToRemove": ["toImage", "zoomIn2d", "zoomOut2d", "autoScale2d"],
}
_CELL = {"sx": {"fontSize": "0.82rem", "padding": "4px 6px"}}
_COMPACT_TABLE = {
    "table": {"sx": {"minWidth": 0}},
    "tableContainer": {"sx": {"overflowX": "auto"}},
    "tableHeadCell": _CELL,
    "tableBodyCell": _CELL,
}


def show(ctx: ExecutionContext, build_page: Callable[[Dataset], Page]) -> None:
    """Show the page of the open dataset."""
    if ctx.dataset is None:
        page = Page.message("No dataset is open", "Open one to see its figures.")
    else:
        try:
            page = build_page(ctx.dataset)
        except (CurationError, CascadeError) as error:
            page = Page.message("This cannot be shown now", str(error), "warning")
    for name, value in page.values().items():
        ctx.panel.set_data(name, value)
    ctx.panel.set_state(_PAGE, page.describe())


def narrow_grid(
    ctx: ExecutionContext, view: DatasetView, *, description: str, fields: tuple[str, ...] = ()
) -> None:
    """Show a view in the grid, unless it is empty.

    Args:
        ctx: FiftyOne's context.
        view: The samples to show.
        description: Description of the samples, for the message.
        fields: Fields to draw; by default those that are drawn already.
    """
    n = view.count()
    if not n:
        ctx.ops.notify(f"No samples: {description}.", variant="warning")
        return
    ctx.ops.set_view(view)
    if fields:
        ctx.ops.set_active_fields(list(fields))
    ctx.ops.notify(f"{formatting.quantity(n, 'sample')}: {description}.", variant="success")


def run_action(ctx: ExecutionContext, action: Callable[[], str]) -> bool:
    """Run an action and notify the user of its result; return whether it succeeded."""
    try:
        message = action()
    except (CurationError, CascadeError) as error:
        ctx.ops.notify(str(error), variant="error")
        return False
    ctx.ops.notify(message, variant="success")
    return True


def render(panel: Panel, ctx: ExecutionContext) -> types.Property:
    """Return the current page as FiftyOne's types.

    Args:
        panel: Owner of the methods that the components name.
        ctx: FiftyOne's context.
    """
    root = types.Object()
    for component in ctx.panel.get_state(_PAGE) or ():
        _RENDERERS[component["kind"]](root, panel, component)
    view = types.GridView(orientation="vertical", gap=2, componentsProps=_FRAME)
    return types.Property(root, view=view)


def _text(root: types.Object, _: Panel, component: Description) -> None:
    view = types.MarkdownView(read_only=True, componentsProps=_FULL_WIDTH)
    root.str(component["name"], view=view)


def _notice(root: types.Object, _: Panel, component: Description) -> None:
    view = types.AlertView(
        label=component["label"],
        description=component["description"],
        severity=component["severity"],
    )
    root.view(component["name"], view)


def _plot(root: types.Object, panel: Panel, component: Description) -> None:
    events = {name: component[name] for name in ("on_click", "on_selected") if component[name]}
    root.plot(
        component["name"],
        label=component["label"],
        description=component["hint"],
        layout=component["layout"],
        config=_LASSO if component["on_selected"] else _STATIC,
        **{name: getattr(panel, method) for name, method in events.items()},
    )


def _table(root: types.Object, panel: Panel, component: Description) -> None:
    table = types.TableView(
        label=component["label"],
        description=component["hint"],
        max_inline_actions=max(len(component["actions"]), 1),
        actions_label=" ",
        componentsProps=_COMPACT_TABLE,
    )
    for key, heading in component["columns"].items():
        table.add_column(key, label=heading)
    for action in component["actions"]:
        rows = {} if action["rows"] is None else {"rows": list(action["rows"])}
        table.add_row_action(
            action["method"], on_click=getattr(panel, action["method"]), icon=action["icon"],
            tooltip=action["label"], **rows,
        )  # fmt: skip
    root.list(component["name"], types.Object(), view=table)


def _buttons(root: types.Object, panel: Panel, component: Description) -> None:
    row = root.h_stack(component["name"], gap=1, align_x="left")
    for i, button in enumerate(component["buttons"]):
        row.btn(
            f"{component['name']}_{i}",
            label=button["label"],
            icon=button["icon"] or None,
            variant="contained" if button["primary"] else "outlined",
            on_click=getattr(panel, button["method"]),
            params=dict(button["params"]),
        )


def _choice(root: types.Object, panel: Panel, component: Description) -> None:
    dropdown = types.DropdownView(compact=True)
    for value, label in component["options"].items():
        dropdown.add_choice(value, label=label)
    root.enum(
        component["name"],
        dropdown.values(),
        label=component["label"],
        default=component["selected"],
        view=dropdown,
        on_change=getattr(panel, component["on_change"]),
    )


def _text_input(root: types.Object, _: Panel, component: Description) -> None:
    root.str(component["name"], label=component["label"], description=component["hint"])


def _picture(root: types.Object, _: Panel, component: Description) -> None:
    root.img(component["name"], alt_text=component["alt"], width="100%", point_on_hover=False)


def _timer(root: types.Object, panel: Panel, component: Description) -> None:
    interval_ms = round(1000 * component["every_s"])
    view = types.TimerView(interval=interval_ms, on_interval=getattr(panel, component["method"]))
    root.view(component["name"], view)


_RENDERERS: dict[str, Callable[[types.Object, Panel, Description], None]] = {
    "text": _text,
    "notice": _notice,
    "plot": _plot,
    "table": _table,
    "buttons": _buttons,
    "choice": _choice,
    "text_input": _text_input,
    "picture": _picture,
    "timer": _timer,
}
