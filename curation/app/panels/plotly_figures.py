"""Traces and layouts for plotly: one look for all panels.

Colours are those of `figures`, which people of every colour vision tell apart; the App's own
background and letters show through, so that plots suit its dark and its light look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.app.panels.components import Plot
from curation.report.figures import ARM_COLOURS, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION

CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY)
ROW_PX, FRAME_PX = 26, 70  # of a horizontal bar or a line of a heat map; of all around it
LETTERS_PX = 12

__all__ = ["ARM_COLOURS", "bars", "columns", "heat", "layout", "points"]


def layout(height_px: int, *, x: str = "", y: str = "", legend: bool = False, **more: Any) -> Any:
    """Return the layout of a plot: small letters, room for labels of any length."""
    axis = {"automargin": True, "tickfont": {"size": LETTERS_PX}, "zeroline": False}
    made: dict[str, Any] = {
        "height": height_px,
        "margin": {"t": 26 if legend else 8, "r": 16, "b": 40, "l": 8},
        "xaxis": {**axis, "title": {"text": x, "font": {"size": LETTERS_PX}, "standoff": 8}},
        "yaxis": {**axis, "title": {"text": y, "font": {"size": LETTERS_PX}, "standoff": 8}},
        "showlegend": legend,
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.0,
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        "font": {"size": LETTERS_PX},
        "bargap": 0.25,
        "hovermode": "closest",
        "uirevision": "same",
    }
    for key, value in more.items():
        made[key] = {**made[key], **value} if isinstance(made.get(key), dict) else value
    return made


def bars(
    name: str,
    label: str,
    rows: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    x: str = "",
    texts: Mapping[str, Sequence[str]] | None = None,
    colours: Sequence[str] = CYCLE,
    on_click: str = "",
    hint: str = "",
    stacked: bool = False,
) -> Plot:
    """Return horizontal bars, the first row on top; a click tells `y`, and `trace`.

    Args:
        name: Of the piece.
        label: Its heading.
        rows: What each bar stands for.
        series: Values by the name of their trace.
        x: What the values are.
        texts: What is written at the bars, by trace.
        colours: Of the traces.
        on_click: The panel's method.
        hint: What a click does.
        stacked: One bar a row, its parts one after another.
    """
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": one,
            "y": list(rows),
            "x": list(values),
            "text": list((texts or {}).get(one, ())),
            "textposition": "auto",
            "constraintext": "none",
            "textangle": 0,
            "textfont": {"size": LETTERS_PX - 1},
            "cliponaxis": False,
            "marker": {"color": colours[i % len(colours)]},
            "hovertemplate": "%{y}: %{x:,}<extra>" + one + "</extra>",
        }
        for i, (one, values) in enumerate(series.items())
    ]
    many = len(series) > 1
    lines = len(rows) * (1 if stacked or not many else 0.7 * len(series))
    made = layout(
        FRAME_PX + round(ROW_PX * max(lines, 1)) + (20 if many else 0), x=x, legend=many,
        yaxis={"autorange": "reversed", "type": "category"},
        barmode="stack" if stacked else "group",
    )  # fmt: skip
    return Plot(name, label, traces, made, hint=hint, on_click=on_click)


def columns(
    name: str,
    label: str,
    centres: Sequence[float],
    counts: Sequence[int],
    *,
    x: str,
    y: str = "samples",
    colours: Sequence[str] | None = None,
    on_click: str = "",
    hint: str = "",
    **more: Any,
) -> Plot:
    """Return a histogram that was counted already; a click tells `x`, the centre of a column."""
    trace = {
        "type": "bar",
        "name": label,
        "x": list(centres),
        "y": list(counts),
        "marker": {"color": list(colours) if colours else BLUE},
        "hovertemplate": "%{x:.3f}: %{y:,}<extra></extra>",
    }
    made = layout(220, x=x, y=y, bargap=0.04, **more)
    return Plot(name, label, [trace], made, hint=hint, on_click=on_click)


def heat(
    name: str,
    label: str,
    rows: Sequence[str],
    names: Sequence[str],
    values: NDArray[np.float64],
    *,
    texts: Sequence[Sequence[str]],
    hovers: Sequence[Sequence[str]],
    x: str = "",
    y: str = "",
    reverse: bool = False,
    row_px: int = ROW_PX,
    on_click: str = "",
    hint: str = "",
) -> Plot:
    """Return a table coloured by value in [0, 1]; a click tells `x` and `y`, the names.

    Args:
        name: Of the piece.
        label: Its heading.
        rows: Names of the R rows, the first on top.
        names: Names of the C columns.
        values: Shape (R, C); NaN is left blank.
        texts: What is written in each cell.
        hovers: What is said of each cell under the mouse.
        x: What the columns are.
        y: What the rows are.
        reverse: Dark is high: for shares of failures.
        row_px: Height of a row.
        on_click: The panel's method.
        hint: What a click does.
    """
    shown = [[None if np.isnan(one) else round(float(one), 4) for one in row] for row in values]
    trace = {
        "type": "heatmap",
        "name": label,
        "x": list(names),
        "y": list(rows),
        "z": shown,
        "zmin": 0,
        "zmax": 1,
        "colorscale": "Cividis",
        "reversescale": reverse,
        "xgap": 2,
        "ygap": 2,
        "text": [list(row) for row in texts],
        "texttemplate": "%{text}",
        "textfont": {"size": LETTERS_PX - 1},
        "customdata": [list(row) for row in hovers],
        "hovertemplate": "%{customdata}<extra></extra>",
        "colorbar": {"thickness": 10, "len": 0.9, "tickformat": ".0%", "outlinewidth": 0},
    }
    made = layout(
        FRAME_PX + 30 + row_px * max(len(rows), 1), x=x, y=y,
        xaxis={"side": "bottom", "type": "category", "tickangle": -30 if len(names) > 4 else 0},
        yaxis={"autorange": "reversed", "type": "category"},
    )  # fmt: skip
    made["xaxis"]["showgrid"] = made["yaxis"]["showgrid"] = False
    return Plot(name, label, [trace], made, hint=hint, on_click=on_click)


def points(
    name: str,
    label: str,
    xy: NDArray[np.float64],
    colour: NDArray[np.float64],
    sizes: NDArray[np.int64],
    *,
    on_selected: str,
    on_click: str,
    hint: str,
) -> Plot:
    """Return a scatter to draw a lasso in; the hard ones lie on top.

    A selection tells `idx`, the places among the known ones by rising value, after the unknown
    ones: the traces are in that order, and each mark's `id` is its row in `xy`.

    Args:
        name: Of the piece.
        label: Its heading.
        xy: Positions, shape (n, 2).
        colour: In [0, 1], shape (n,); NaN is grey.
        sizes: Samples that a mark stands for, shape (n,).
        on_selected: The panel's method for a lasso.
        on_click: The panel's method for a click.
        hint: What they do.
    """
    unknown = np.flatnonzero(np.isnan(colour))
    known = np.flatnonzero(~np.isnan(colour))
    known = known[np.argsort(colour[known], kind="stable")]
    diameter = np.clip(5 + 2.2 * np.log2(np.maximum(sizes, 1)), 5, 16)
    shared = {"type": "scattergl", "mode": "markers"}
    traces = [
        {
            **shared,
            **_placed(xy, unknown, sizes),
            "name": "hardness unknown",
            "marker": {
                "size": diameter[unknown].round(1).tolist(),
                "color": GREY,
                "opacity": 0.5,
                "line": {"width": 0},
            },
            "hovertemplate": "hardness unknown, %{customdata} samples<extra></extra>",
        },
        {
            **shared,
            **_placed(xy, known, sizes),
            "name": "hardness",
            "marker": {
                "size": diameter[known].round(1).tolist(),
                "color": colour[known].round(3).tolist(),
                "colorscale": "Viridis",
                "cmin": 0,
                "cmax": 1,
                "showscale": True,
                "line": {"width": 0},
                "colorbar": {
                    "thickness": 10,
                    "outlinewidth": 0,
                    "title": {"text": "hardness", "side": "right"},
                },
            },
            "hovertemplate": "hardness %{marker.color:.2f}, %{customdata} samples<extra></extra>",
        },
    ]
    bare = {"showticklabels": False, "showgrid": False, "zeroline": False}
    made = layout(440, xaxis=bare, yaxis=bare, dragmode="lasso", margin={"t": 36, "b": 8})
    drawn = [one for one in traces if one["x"]]
    return Plot(name, label, drawn, made, hint=hint, on_click=on_click, on_selected=on_selected)


def _placed(
    xy: NDArray[np.float64], rows: NDArray[np.int64], sizes: NDArray[np.int64]
) -> dict[str, Any]:
    return {
        "x": xy[rows, 0].round(4).tolist(),
        "y": xy[rows, 1].round(4).tolist(),
        "ids": [str(row) for row in rows],
        "customdata": sizes[rows].tolist(),
    }
