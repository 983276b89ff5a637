"""Every plot, shared by report, panels and notebooks. Data in, a figure out; nothing is shown.

No figure touches pyplot's state, so that they can be drawn in any thread and nothing leaks.
Colours are Okabe and Ito's [0], which people of every colour vision tell apart; where colour
is a quantity it is viridis or cividis, whose lightness alone tells the order.

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
VERMILION, PURPLE, SKY, GREY = "#D55E00", "#CC79A7", "#56B4E9", "#9AA0A6"
ARM_COLOURS: Mapping[str, str] = {
    "hard": VERMILION,
    "coverage": BLUE,
    "slice": PURPLE,
    "random": GREEN,
}
_INK, _FAINT = "#202124", "#DADCE0"
_BEFORE, _AFTER = GREY, BLUE
_BINS = 20
_WIDTH_IN = 5.4
_SMALL, _LETTERS = 8, 9  # points
_MANY_POINTS = 2000  # from here on a scatter is drawn as pixels, not as so many shapes


@dataclass(frozen=True)
class Estimate:
    """A value and, where one is known, the interval that it lies in.

    Attributes:
        value: None where it is not defined.
        lower: End of the 95 % interval; None where there is none.
        upper: The other end.
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
    """Draw how hard the pool is, and what each arm took of it, stacked.

    Args:
        pool: Hardness of every sample of the pool, chosen ones included, in [0, 1].
        arms: Hardness of the chosen samples, by arm.
    """
    figure, axes = _canvas(3.0)
    edges = np.linspace(0, 1, _BINS + 1)
    axes.hist(np.asarray(pool, float), bins=edges, color=_FAINT, label=f"pool ({len(pool)})")
    ordered = [arm for arm in ARM_COLOURS if arm in arms] + sorted(set(arms) - set(ARM_COLOURS))
    if ordered:
        axes.hist(
            [np.asarray(arms[arm], float) for arm in ordered],
            bins=edges,
            stacked=True,
            color=[ARM_COLOURS.get(arm, SKY) for arm in ordered],
            label=[f"{arm} ({len(arms[arm])})" for arm in ordered],
        )
    axes.set(xlim=(0, 1), xlabel="hardness (higher is harder)", ylabel="samples")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=5, columnspacing=1.2)
    return figure


def before_after(changes: Sequence[Change]) -> Figure:
    """Draw metrics before and after, one pair of bars each, with their intervals."""
    figure, axes = _canvas(0.9 + 0.5 * max(len(changes), 1))
    rows = np.arange(len(changes))[::-1]  # the first on top
    pairs = (
        (0.19, _BEFORE, "before", [one.before for one in changes]),
        (-0.19, _AFTER, "after", [one.after for one in changes]),
    )
    for offset, colour, name, estimates in pairs:
        values = np.array([np.nan if one.value is None else one.value for one in estimates])
        axes.barh(rows + offset, values, height=0.34, color=colour, label=name)
        _whiskers(axes, rows + offset, estimates)
        _annotate(axes, rows + offset, estimates)
    axes.set_yticks(rows, [one.name for one in changes])
    axes.set_xlim(*_span([one for pair in pairs for one in pair[3]]))
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.grid(axis="y", visible=False)
    _legend(axes, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    return figure


def learning_curves(curves: Mapping[str, Sequence[Point]]) -> Figure:
    """Draw metrics against the number of labeled images, one line each, with intervals."""
    figure, axes = _canvas(3.0)
    for colour, (name, points) in zip(_cycle(), curves.items(), strict=False):
        known = [one for one in points if one.estimate.value is not None]
        images = [one.images for one in known]
        axes.plot(images, [one.estimate.value for one in known], "o-", color=colour, label=name)
        sure = [one for one in known if one.estimate.lower is not None]
        axes.fill_between(
            [one.images for one in sure],
            [one.estimate.lower for one in sure],
            [one.estimate.upper for one in sure],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
    axes.set(xlabel="labeled images", ylabel="on the frozen set")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)
    return figure


def training_curves(losses: Mapping[str, Sequence[float]]) -> Figure:
    """Draw the training loss of each member, relative to its first epoch."""
    figure, axes = _canvas(3.0)
    for colour, (name, values) in zip(_cycle(), losses.items(), strict=False):
        if len(values):
            relative = np.asarray(values, float) / (values[0] or 1.0)
            axes.plot(np.arange(1, len(values) + 1), relative, "o-", color=colour, label=name)
    axes.set(xlabel="epoch", ylabel="training loss, first epoch = 1")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)
    return figure


def slice_heat(
    rows: Sequence[str], columns: Sequence[str], values: FloatArray, *, counts: Sequence[int]
) -> Figure:
    """Draw a table of slices by metrics, coloured by value.

    Args:
        rows: Slice names.
        columns: Metric names.
        values: In [0, 1], higher is better, shape (R, C); NaN where not defined.
        counts: Images in each slice.
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
        colour = "white" if dark else _INK
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=_SMALL)
    _colour_scale(figure, axes, image, "value")
    return figure


def calibration_curve(
    truth: NDArray[np.bool_], p: Mapping[str, FloatArray], *, bins: int = 10
) -> Figure:
    """Draw how often "yes" was true against the probability that was said.

    Args:
        truth: The true answers, shape (n,).
        p: P(yes) of each ensemble, shape (n,), by its name; images with NaN are left out.
        bins: Of equal width; a marker's size grows with the images in it.
    """
    figure, axes = _canvas(3.8)
    axes.plot([0, 1], [0, 1], "--", color=_INK, linewidth=0.8, label="perfect")
    for colour, (name, said) in zip((_BEFORE, _AFTER, ORANGE), p.items(), strict=False):
        voted = ~np.isnan(said)
        said, true = said[voted], truth[voted]
        bin_of = np.minimum((said * bins).astype(int), bins - 1)
        counts = np.bincount(bin_of, minlength=bins)
        used = counts > 0
        mean_p = np.bincount(bin_of, weights=said, minlength=bins)[used] / counts[used]
        share = np.bincount(bin_of, weights=true, minlength=bins)[used] / counts[used]
        axes.plot(mean_p, share, color=colour, linewidth=1.2)
        axes.scatter(
            mean_p, share, s=20 + 160 * counts[used] / max(len(said), 1), color=colour, label=name
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability said", ylabel="share that was yes")
    _legend(axes, loc="upper left", markerscale=0.6)
    return figure


def embedding_scatter(xy: FloatArray, hardness: FloatArray, chosen: NDArray[np.bool_]) -> Figure:
    """Draw where samples lie in the embedding, coloured by hardness; chosen ones are ringed.

    Args:
        xy: Positions, shape (n, 2); their units mean nothing.
        hardness: In [0, 1], shape (n,); NaN where unknown, which is drawn grey.
        chosen: Shape (n,).
    """
    figure, axes = _canvas(4.0)
    known = ~np.isnan(hardness)
    many = len(xy) >= _MANY_POINTS
    axes.scatter(*xy[~known].T, s=6, color=_FAINT, rasterized=many)
    order = np.flatnonzero(known)[np.argsort(hardness[known])]  # the hard ones on top
    points = axes.scatter(
        *xy[order].T, s=9, c=hardness[order], cmap="viridis", vmin=0, vmax=1, rasterized=many
    )
    axes.scatter(
        *xy[chosen].T, s=34, facecolors="none", edgecolors=VERMILION, linewidths=1, label="chosen"
    )
    axes.set(xticks=[], yticks=[], xlabel="embedding, projected", ylabel="")
    axes.grid(visible=False)
    _legend(axes, loc="best")
    _colour_scale(figure, axes, points, "hardness")
    return figure


def to_svg(figure: Figure) -> bytes:
    """Return the figure as SVG text, the same bytes for the same data."""
    import matplotlib as mpl

    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "curation"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _canvas(height_in: float) -> tuple[Figure, Any]:
    """Return an empty figure; all are of one width, so that their letters are of one size."""
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


def _legend(axes: Any, **where: Any) -> None:
    """Explain the colours, where anything was drawn."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=_SMALL, **where)


def _colour_scale(figure: Figure, axes: Any, drawn: Any, name: str) -> None:
    scale = figure.colorbar(drawn, ax=axes, shrink=0.9)
    scale.set_label(name, size=_LETTERS)
    scale.ax.tick_params(labelsize=_SMALL)
    scale.outline.set_visible(False)


def _cycle() -> tuple[str, ...]:
    """Return enough colours for the members of any ensemble that ships."""
    return (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, GREY, _INK) * 4


def _whiskers(axes: Any, rows: FloatArray, estimates: Sequence[Estimate]) -> None:
    for row, one in zip(rows, estimates, strict=True):
        if one.lower is not None and one.upper is not None:
            axes.plot([one.lower, one.upper], [row, row], color=_INK, linewidth=1.2)


def _annotate(axes: Any, rows: FloatArray, estimates: Sequence[Estimate]) -> None:
    for row, one in zip(rows, estimates, strict=True):
        text = "not defined" if one.value is None else f"{one.value:.3f}"
        ends = [end for end in (one.value, one.upper, 0.0) if end is not None]
        axes.annotate(
            text, (max(ends), row), xytext=(4, 0), textcoords="offset points", va="center",
            fontsize=_SMALL, color=_INK,
        )  # fmt: skip


def _span(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """Return the ends of an axis that holds all, and has room for the numbers beside them."""
    known = [v for one in estimates for v in (one.value, one.lower, one.upper) if v is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    width = (high - low) or 1.0
    return low - (0.04 * width if low < 0 else 0.0), high + 0.16 * width
