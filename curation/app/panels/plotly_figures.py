"""Plotly traces and layouts in one style for all panels.

Colors are those of the report's figures, which are safe for color-blind readers. The App's
background and text color show through, in its dark and in its light theme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.app.panels.components import Plot
from curation.report.figures import BLUE, GRAY, GREEN, ORANGE, PURPLE, SKY, VERMILION

CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GRAY)
ROW_PX, FRAME_PX = 26, 70  # height of one bar or heatmap row; of all around them
FONT_PX = 12


def layout(height_px: int, *, x: str = "", y: str = "", legend: bool = False, **more: Any) -> Any:
    """Return the layout of a plot: small font, margins that fit any label.

    Args:
        height_px: Height of the plot.
        x: Title of the x axis.
        y: Title of the y axis.
        legend: Whether to show a legend.
        **more: Further keys of the layout, merged into those of this function.
    """
    font = {"size": FONT_PX}
    axis = {"automargin": True, "tickfont": font, "zeroline": False}
    result: dict[str, Any] = {
        "height": height_px,
        "margin": {"t": 26 if legend else 8, "r": 16, "b": 40, "l": 8},
        "xaxis": {**axis, "title": {"text": x, "font": font, "standoff": 8}},
        "yaxis": {**axis, "title": {"text": y, "font": font, "standoff": 8}},
        "showlegend": legend,
        "legend": {
            "orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "traceorder": "normal",
        },
        "font": font,
        "bargap": 0.25,
        "hovermode": "closest",
        "uirevision": "same",
    }  # fmt: skip
    for key, value in more.items():
        result[key] = {**result[key], **value} if isinstance(result.get(key), dict) else value
    return result


def bar_chart(
    name: str,
    label: str,
    rows: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    x: str = "",
    texts: Mapping[str, Sequence[str]] | None = None,
    colors: Sequence[str] = CYCLE,
    on_click: str = "",
    hint: str = "",
    stacked: bool = False,
) -> Plot:
    """Return horizontal bars, the first row on top; a click sends `y` and `trace`.

    Args:
        name: Name of the component.
        label: Heading.
        rows: Label of each row.
        series: Values by trace name.
        x: Title of the value axis.
        texts: Texts on the bars, by trace name.
        colors: Color of each trace.
        on_click: The panel's method.
        hint: Effect of a click.
        stacked: Whether to stack the series of a row in one bar.
    """
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": trace,
            "y": list(rows),
            "x": list(values),
            "text": list((texts or {}).get(trace, ())),
            "textposition": "auto",
            "constraintext": "none",
            "textangle": 0,
            "textfont": {"size": FONT_PX - 1},
            "cliponaxis": False,
            "marker": {"color": colors[i % len(colors)]},
            "hovertemplate": "%{y}: %{x:,}<extra>" + trace + "</extra>",
        }
        for i, (trace, values) in enumerate(series.items())
    ]
    several = len(series) > 1
    lines = len(rows) * (1 if stacked or not several else 0.7 * len(series))
    plot_layout = layout(
        FRAME_PX + round(ROW_PX * max(lines, 1)) + (20 if several else 0), x=x, legend=several,
        yaxis={"autorange": "reversed", "type": "category"},
        barmode="stack" if stacked else "group",
    )  # fmt: skip
    return Plot(name, label, traces, plot_layout, hint=hint, on_click=on_click)


def histogram(
    name: str,
    label: str,
    centers: Sequence[float],
    counts: Sequence[int],
    *,
    x: str,
    y: str = "samples",
    colors: Sequence[str] | None = None,
    on_click: str = "",
    hint: str = "",
    **more: Any,
) -> Plot:
    """Return a histogram of given counts; a click sends `x`, the center of a column."""
    trace = {
        "type": "bar",
        "name": label,
        "x": list(centers),
        "y": list(counts),
        "marker": {"color": list(colors) if colors else BLUE},
        "hovertemplate": "%{x:.3f}: %{y:,}<extra></extra>",
    }
    plot_layout = layout(220, x=x, y=y, bargap=0.04, **more)
    return Plot(name, label, [trace], plot_layout, hint=hint, on_click=on_click)


def heatmap(
    name: str,
    label: str,
    rows: Sequence[str],
    columns: Sequence[str],
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
    """Return a table colored by value in [0, 1]; a click sends the names `x` and `y`.

    Args:
        name: Name of the component.
        label: Heading.
        rows: Names of the R rows, the first on top.
        columns: Names of the C columns.
        values: Shape (R, C); NaN is left blank.
        texts: Text in each cell.
        hovers: Tooltip of each cell.
        x: Title of the x axis.
        y: Title of the y axis.
        reverse: Whether dark means high, as for failure rates.
        row_px: Height of a row.
        on_click: The panel's method.
        hint: Effect of a click.
    """
    trace = {
        "type": "heatmap",
        "name": label,
        "x": list(columns),
        "y": list(rows),
        "z": [[None if np.isnan(z) else round(float(z), 4) for z in row] for row in values],
        "zmin": 0,
        "zmax": 1,
        "colorscale": "Cividis",
        "reversescale": reverse,
        "xgap": 2,
        "ygap": 2,
        "text": [list(row) for row in texts],
        "texttemplate": "%{text}",
        "textfont": {"size": FONT_PX - 1},
        "customdata": [list(row) for row in hovers],
        "hovertemplate": "%{customdata}<extra></extra>",
        "colorbar": {"thickness": 10, "len": 0.9, "tickformat": ".0%", "outlinewidth": 0},
    }
    angle = -30 if len(columns) > 4 else 0
    plot_layout = layout(
        FRAME_PX + 30 + row_px * max(len(rows), 1), x=x, y=y,
        xaxis={"side": "bottom", "type": "category", "tickangle": angle, "showgrid": False},
        yaxis={"autorange": "reversed", "type": "category", "showgrid": False},
    )  # fmt: skip
    return Plot(name, label, [trace], plot_layout, hint=hint, on_click=on_click)


def scatter(
    name: str,
    label: str,
    xy: NDArray[np.float64],
    values: NDArray[np.float64],
    sizes: NDArray[np.int64],
    *,
    on_selected: str,
    on_click: str,
    hint: str,
) -> Plot:
    """Return a scatter plot of hardness with a lasso; hard marks are drawn on top.

    Marks without a value form the first trace, the others follow by rising value. A mark's `id`
    is its row in `xy`; selections and clicks send these ids.

    Args:
        name: Name of the component.
        label: Heading.
        xy: Positions, shape (n, 2).
        values: Hardness in [0, 1], shape (n,); NaN is gray.
        sizes: Number of samples of each mark, shape (n,).
        on_selected: The panel's method for a lasso.
        on_click: The panel's method for a click.
        hint: Effect of both.
    """
    unknown = np.flatnonzero(np.isnan(values))
    scored = np.flatnonzero(~np.isnan(values))
    scored = scored[np.argsort(values[scored], kind="stable")]
    colorbar = {
        "thickness": 10, "outlinewidth": 0, "title": {"text": "hardness", "side": "right"},
    }  # fmt: skip
    traces = [
        {
            **_marks(xy, unknown, sizes, color=GRAY, opacity=0.5),
            "name": "hardness unknown",
            "hovertemplate": "hardness unknown, %{customdata} samples<extra></extra>",
        },
        {
            **_marks(
                xy, scored, sizes, color=values[scored].round(3).tolist(), colorscale="Viridis",
                cmin=0, cmax=1, showscale=True, colorbar=colorbar,
            ),
            "name": "hardness",
            "hovertemplate": "hardness %{marker.color:.2f}, %{customdata} samples<extra></extra>",
        },
    ]  # fmt: skip
    axis = {"showticklabels": False, "showgrid": False, "zeroline": False}
    plot_layout = layout(440, xaxis=axis, yaxis=axis, dragmode="lasso", margin={"t": 36, "b": 8})
    drawn = [trace for trace in traces if trace["x"]]
    return Plot(
        name, label, drawn, plot_layout, hint=hint, on_click=on_click, on_selected=on_selected
    )


def _marks(
    xy: NDArray[np.float64], rows: NDArray[np.int64], sizes: NDArray[np.int64], **marker: Any
) -> dict[str, Any]:
    """Return a trace of some rows; a mark grows with the logarithm of its samples."""
    diameter = np.clip(5 + 2.2 * np.log2(np.maximum(sizes[rows], 1)), 5, 16)
    return {
        "type": "scattergl",
        "mode": "markers",
        "x": xy[rows, 0].round(4).tolist(),
        "y": xy[rows, 1].round(4).tolist(),
        "ids": [str(row) for row in rows],
        "customdata": sizes[rows].tolist(),
        "marker": {"size": diameter.round(1).tolist(), "line": {"width": 0}, **marker},
    }
