"""Plots of reports, panels and notebooks; each function returns a Matplotlib figure.

The figures do not use pyplot's global state, so they can be drawn in any thread. Categorical
colors are those of Okabe and Ito [0], distinguishable with any color vision; quantities use
viridis or cividis, which are ordered by lightness.

- [0] Okabe and Ito, Color universal design, 2008; https://jfly.uni-koeln.de/color/
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cascade.arrays import FloatArray

BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"
VERMILION, PURPLE, SKY, GRAY = "#D55E00", "#CC79A7", "#56B4E9", "#9AA0A6"
ARM_COLORS: Mapping[str, str] = {
    "hard": VERMILION,
    "coverage": BLUE,
    "slice": PURPLE,
    "random": GREEN,
}
_INK, _FAINT = "#202124", "#DADCE0"
_BEFORE, _AFTER = GRAY, BLUE
_BINS = 20
_WIDTH_IN = 5.4
_SMALL, _LETTERS = 8, 9  # points
_MANY_POINTS = 2000  # larger scatter plots are rasterized


@dataclass(frozen=True)
class Estimate:
    """A value with an optional interval.

    Attributes:
        value: The value, None where it is undefined.
        lower: Lower end of the 95 % interval, if known.
        upper: Upper end of the 95 % interval, if known.
    """

    value: float | None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Change:
    """One metric before and after."""

    name: str
    before: Estimate
    after: Estimate


@dataclass(frozen=True)
class Point:
    """A metric after some number of labeled images."""

    images: int
    estimate: Estimate


def hardness_histogram(pool: Sequence[float], arms: Mapping[str, Sequence[float]]) -> Figure:
    """Draw the hardness of the pool and, stacked, of the samples chosen by each arm.

    Args:
        pool: Hardness of every sample of the pool, chosen ones included, in [0, 1].
        arms: Hardness of the chosen samples, by arm.
    """
    figure, axes = _canvas(3.0)
    edges = np.linspace(0, 1, _BINS + 1)
    axes.hist(np.asarray(pool, float), bins=edges, color=_FAINT, label=f"pool ({len(pool)})")
    ordered = [arm for arm in ARM_COLORS if arm in arms] + sorted(set(arms) - set(ARM_COLORS))
    if ordered:
        axes.hist(
            [np.asarray(arms[arm], float) for arm in ordered],
            bins=edges,
            stacked=True,
            color=[ARM_COLORS.get(arm, SKY) for arm in ordered],
            label=[f"{arm} ({len(arms[arm])})" for arm in ordered],
        )
    axes.set(xlim=(0, 1), xlabel="hardness (higher is harder)", ylabel="samples")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=5, columnspacing=1.2)
    return figure


def before_after(changes: Sequence[Change]) -> Figure:
    """Draw metrics before and after as pairs of bars with intervals."""
    figure, axes = _canvas(0.9 + 0.5 * max(len(changes), 1))
    rows = np.arange(len(changes))[::-1]  # first metric on top
    pairs = (
        (0.19, _BEFORE, "before", [change.before for change in changes]),
        (-0.19, _AFTER, "after", [change.after for change in changes]),
    )
    for offset, color, name, estimates in pairs:
        values = np.array(
            [np.nan if estimate.value is None else estimate.value for estimate in estimates]
        )
        axes.barh(rows + offset, values, height=0.34, color=color, label=name)
        _whiskers(axes, rows + offset, estimates)
        _annotate(axes, rows + offset, estimates)
    axes.set_yticks(rows, [change.name for change in changes])
    axes.set_xlim(*_span([estimate for pair in pairs for estimate in pair[3]]))
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.grid(axis="y", visible=False)
    _legend(axes, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    return figure


def learning_curves(curves: Mapping[str, Sequence[Point]]) -> Figure:
    """Draw metrics against the number of labeled images, with intervals."""
    figure, axes = _canvas(3.0)
    for color, (name, points) in zip(_cycle(), curves.items(), strict=False):
        defined = [point for point in points if point.estimate.value is not None]
        images = [point.images for point in defined]
        axes.plot(
            images, [point.estimate.value for point in defined], "o-", color=color, label=name
        )
        bounded = [point for point in defined if point.estimate.lower is not None]
        axes.fill_between(
            [point.images for point in bounded],
            [point.estimate.lower for point in bounded],
            [point.estimate.upper for point in bounded],
            color=color,
            alpha=0.15,
            linewidth=0,
        )
    axes.set(xlabel="labeled images", ylabel="frozen evaluation set")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)
    return figure


def training_curves(losses: Mapping[str, Sequence[float]]) -> Figure:
    """Draw each member's training loss relative to the first epoch."""
    figure, axes = _canvas(3.0)
    for color, (name, values) in zip(_cycle(), losses.items(), strict=False):
        if len(values):
            relative = np.asarray(values, float) / (values[0] or 1.0)
            axes.plot(np.arange(1, len(values) + 1), relative, "o-", color=color, label=name)
    axes.set(xlabel="epoch", ylabel="training loss, first epoch = 1")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)
    return figure


def slice_heat(
    rows: Sequence[str], columns: Sequence[str], values: FloatArray, *, counts: Sequence[int]
) -> Figure:
    """Draw a table of slices by metrics, colored by value.

    Args:
        rows: Slice names.
        columns: Metric names.
        values: Metrics in [0, 1], higher is better, shape (R, C); NaN where undefined.
        counts: Number of images in each slice.
    """
    figure, axes = _canvas(0.8 + 0.36 * max(len(rows), 1))
    image = axes.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), [f"{a} ({n})" for a, n in zip(rows, counts, strict=True)])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for (row, column), value in np.ndenumerate(values):
        text = "n/a" if np.isnan(value) else f"{value:.2f}"
        dark = not np.isnan(value) and value < 0.55
        color = "white" if dark else _INK
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=_SMALL)
    _color_scale(figure, axes, image, "value")
    return figure


def calibration_curve(
    truth: NDArray[np.bool_], p: Mapping[str, FloatArray], *, bins: int = 10
) -> Figure:
    """Draw the observed share of "yes" against the predicted probability.

    Args:
        truth: True answers, shape (n,).
        p: P(yes) by name of the ensemble, shape (n,); images with NaN are left out.
        bins: Number of bins of equal width; marker size shows the number of images.
    """
    figure, axes = _canvas(3.8)
    axes.plot([0, 1], [0, 1], "--", color=_INK, linewidth=0.8, label="perfect")
    for color, (name, probabilities) in zip((_BEFORE, _AFTER, ORANGE), p.items(), strict=False):
        voted = ~np.isnan(probabilities)
        predicted, true = probabilities[voted], truth[voted]
        bin_of = np.minimum((predicted * bins).astype(int), bins - 1)
        counts = np.bincount(bin_of, minlength=bins)
        used = counts > 0
        mean_p = np.bincount(bin_of, weights=predicted, minlength=bins)[used] / counts[used]
        share = np.bincount(bin_of, weights=true, minlength=bins)[used] / counts[used]
        axes.plot(mean_p, share, color=color, linewidth=1.2)
        axes.scatter(
            mean_p,
            share,
            s=20 + 160 * counts[used] / max(len(predicted), 1),
            color=color,
            label=name,
        )
    axes.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="observed share of yes"
    )
    _legend(axes, loc="upper left", markerscale=0.6)
    return figure


def embedding_scatter(xy: FloatArray, hardness: FloatArray, chosen: NDArray[np.bool_]) -> Figure:
    """Draw the samples in the embedding, colored by hardness; chosen samples are ringed.

    Args:
        xy: Positions, shape (n, 2), without a unit.
        hardness: Hardness in [0, 1], shape (n,); NaN (unknown) is gray.
        chosen: Mask of the chosen samples, shape (n,).
    """
    figure, axes = _canvas(4.0)
    scored = ~np.isnan(hardness)
    many = len(xy) >= _MANY_POINTS
    axes.scatter(*xy[~scored].T, s=6, color=_FAINT, rasterized=many)
    order = np.flatnonzero(scored)[np.argsort(hardness[scored])]  # hard samples on top
    points = axes.scatter(
        *xy[order].T, s=9, c=hardness[order], cmap="viridis", vmin=0, vmax=1, rasterized=many
    )
    axes.scatter(
        *xy[chosen].T, s=34, facecolors="none", edgecolors=VERMILION, linewidths=1, label="chosen"
    )
    axes.set(xticks=[], yticks=[], xlabel="embedding, projected", ylabel="")
    axes.grid(visible=False)
    _legend(axes, loc="best")
    _color_scale(figure, axes, points, "hardness")
    return figure


def to_svg(figure: Figure) -> bytes:
    """Return the figure as SVG; equal data gives equal bytes."""
    import matplotlib as mpl

    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "curation"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _canvas(height_in: float) -> tuple[Figure, Any]:
    """Return an empty figure; all have one width, for a consistent font size."""
    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.xaxis.label.set_fontsize(_LETTERS)
    axes.yaxis.label.set_fontsize(_LETTERS)
    axes.grid(visible=True, color=_FAINT, linewidth=0.6)
    axes.tick_params(color=_FAINT, labelcolor=_INK, labelsize=_SMALL)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_FAINT)
    return figure, axes


def _legend(axes: Any, **options: Any) -> None:
    """Add a legend if the plot has labeled content."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=_SMALL, **options)


def _color_scale(figure: Figure, axes: Any, mappable: Any, name: str) -> None:
    scale = figure.colorbar(mappable, ax=axes, shrink=0.9)
    scale.set_label(name, size=_LETTERS)
    scale.ax.tick_params(labelsize=_SMALL)
    scale.outline.set_visible(False)


def _cycle() -> tuple[str, ...]:
    """Return colors for the members of the largest shipped ensemble."""
    return (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, GRAY, _INK) * 4


def _whiskers(axes: Any, rows: FloatArray, estimates: Sequence[Estimate]) -> None:
    for row, estimate in zip(rows, estimates, strict=True):
        if estimate.lower is not None and estimate.upper is not None:
            axes.plot([estimate.lower, estimate.upper], [row, row], color=_INK, linewidth=1.2)


def _annotate(axes: Any, rows: FloatArray, estimates: Sequence[Estimate]) -> None:
    for row, estimate in zip(rows, estimates, strict=True):
        text = "not defined" if estimate.value is None else f"{estimate.value:.3f}"
        ends = [end for end in (estimate.value, estimate.upper, 0.0) if end is not None]
        axes.annotate(
            text, (max(ends), row), xytext=(4, 0), textcoords="offset points", va="center",
            fontsize=_SMALL, color=_INK,
        )  # fmt: skip


def _span(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """Return axis limits with space for the value labels."""
    ends = [
        end for estimate in estimates for end in (estimate.value, estimate.lower, estimate.upper)
    ]
    values = [end for end in ends if end is not None]
    low, high = min([0.0, *values]), max([0.0, *values])
    width = (high - low) or 1.0
    return low - (0.04 * width if low < 0 else 0.0), high + 0.16 * width
