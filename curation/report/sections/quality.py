"""Sections on quality before and after: overall, by member, class and slice, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation import formatting
from curation.report import cells, figures
from curation.report.facts import Story
from curation.report.figures import Change, Estimate
from curation.report.intervals import Answers, Compared, compare
from curation.report.page import Cell, Plot, Section, Table

_NAMES = {"mcc": "MCC", "precision": "precision", "recall": "recall", "ece": "calibration error"}
_BOX_NAMES = {"map": "mAP", "map50": "mAP at IoU 0.5"}
_IN_HEAT = ("mcc", "recall", "precision", "map50")
_OUTCOMES = {
    "promote": "The challenger is promoted.",
    "keep": "The champion stays.",
    "no_verdict": "There is no verdict, so the champion stays.",
}


def overall(story: Story) -> Section:
    """Return the metrics before and after, as a whole, by member and by class."""
    title = "Before and after"
    if story.before is None or story.after is None:
        return Section(title, not_run="Not run: nothing was measured on a frozen set.")
    before, after = story.before, story.after
    rows = [*_decisions(before, after).items(), *_boxes(before, after).items()]
    changes = [Change(name, one.before, one.after) for name, one in rows]
    truth = np.array(after["samples"]["truth"], bool)
    said = {"before": _p(before), "after": _p(after)}
    plots = [Plot("The same as bars; lines are intervals.", lambda: figures.before_after(changes))]
    if len(truth):
        plots.append(
            Plot(
                "How often yes was true, against the probability that was said.",
                lambda: figures.calibration_curve(truth, said),
            )
        )
    return Section(
        title,
        text=(_about_set(after),),
        tables=(
            _table("metric", rows),
            _table("member, mAP at IoU 0.5", list(_members(before, after).items())),
            _class_table(before, after),
        ),
        plots=tuple(plots),
    )


def slices(story: Story) -> Section:
    """Return the metrics by slice."""
    title = "By slice"
    if story.before is None or story.after is None:
        return Section(title, not_run="Not run: nothing was measured on a frozen set.")
    found: Mapping[str, Any] = story.after["slices"]
    if not found:
        return Section(title, text=("No slice of the frozen set is large enough to be measured.",))
    names = sorted(found)
    values = np.array(
        [
            [np.nan if found[name].get(key) is None else found[name][key] for key in _IN_HEAT]
            for name in names
        ],
        float,
    )
    counts = [found[name]["n"] for name in names]
    columns = ["MCC", "recall", "precision", "mAP50"]
    rows = [_slice_row(name, story.before, story.after) for name in names]
    return Section(
        title,
        tables=(
            Table.of(
                "slice|images#|of them yes#|MCC before|MCC after|change of MCC|recall|mAP50",
                rows,
            ),
        ),
        plots=(
            Plot(
                "After training, by slice (images in brackets).",
                lambda: figures.slice_heat(names, columns, values, counts=counts),
            ),
        ),
    )


def verdict(story: Story) -> Section:
    """Return what the gate decided, with every check."""
    title = "Verdict"
    found = story.verdict
    if found is None:
        return Section(title, not_run="Not run: no challenger was judged.")
    marks: dict[bool | None, Cell] = {
        True: Cell("✓ holds", "good"),
        False: Cell("✗ fails", "bad"),
        None: Cell("reported only", "muted"),
    }
    rows: list[list[Cell | str]] = [
        [one["name"], marks[one["passed"]], one["sentence"]] for one in found["checks"]
    ]
    text = [outcome(found), *found["reasons"]]
    if found.get("needed") and found["needed"] not in text:
        text.append(found["needed"])
    published = story.summary("publish")
    if published and published.get("sentence"):
        text.append(published["sentence"])
    return Section(title, text=tuple(text), tables=(Table.of("check|result|in numbers", rows),))


def outcome(found: Mapping[str, Any]) -> str:
    """Return what became of the challenger, in a sentence with the change of MCC."""
    sentence = _OUTCOMES[found["outcome"]]
    if found["delta_mcc"] is None:
        return sentence
    return (
        f"{sentence} MCC changed by {found['delta_mcc']:+.3f} "
        f"(one-sided 95 % bounds {found['lower']:+.3f} and {found['upper']:+.3f})."
    )


def main_metrics(evaluation: Mapping[str, Any]) -> dict[str, Estimate]:
    """Return MCC and mAP of one evaluation, with intervals where they can be had."""
    same = _decisions(evaluation, evaluation)["MCC"].before
    return {"MCC": same, "mAP at IoU 0.5": _with_interval(evaluation, "map50")}


def _about_set(after: Mapping[str, Any]) -> str:
    drives = formatting.quantity(len(set(after["samples"]["drive"])), "drive")
    images = formatting.quantity(after["n_images"], "image")
    return (
        f"Measured on the frozen {after['split']} split: {images} of {drives}, "
        f"{after['n_positive']} with the answer yes. Brackets are 95 % intervals over draws of "
        "drives; a change is judged on the same draws for both."
    )


def _decisions(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Compared]:
    """Return the metrics of the image decision by their written name."""
    images = after["samples"]
    if not images["id"]:
        nothing = Compared(Estimate(None), Estimate(None), Estimate(None))
        return dict.fromkeys(_NAMES.values(), nothing)
    found = compare(
        np.array(images["truth"], bool), images["drive"], _answers(before), _answers(after)
    )
    return {_NAMES[key]: one for key, one in found.items()}


def _boxes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Compared]:
    return {
        name: _two(_with_interval(before, key), _with_interval(after, key))
        for key, name in _BOX_NAMES.items()
    }


def _members(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Compared]:
    nothing: Mapping[str, Any] = {}
    return {
        name: _two(
            _with_interval(before["members"].get(name, nothing), "map50"),
            _with_interval(after["members"].get(name, nothing), "map50"),
        )
        for name in sorted({*before["members"], *after["members"]})
    }


def _class_table(before: Mapping[str, Any], after: Mapping[str, Any]) -> Table:
    rows: list[list[Cell | str]] = []
    for name, one in after["classes"].items():
        two = _two(
            _with_interval(before["classes"].get(name, {}), "ap50"), _with_interval(one, "ap50")
        )
        rows.append(
            [
                name,
                str(one["n"]),
                cells.estimate(two.before),
                cells.estimate(two.after),
                cells.change(two.change),
            ]
        )
    return Table.of("class, AP at IoU 0.5|objects#|before|after|change", rows)


def _slice_row(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Cell | str]:
    old, new = before["slices"].get(name, {}), after["slices"][name]
    mcc = _slice_mcc(name, before, after)
    return [
        name,
        str(new["n"]),
        str(new["n_positive"]),
        cells.estimate(mcc.before, 2),
        cells.estimate(mcc.after, 2),
        cells.change(mcc.change, digits=2),
        _from_to(old.get("recall"), new.get("recall")),
        _from_to(old.get("map50"), new.get("map50")),
    ]


def _from_to(before: float | None, after: float | None) -> str:
    return f"{cells.number(before, 2)} to {cells.number(after, 2)}"


def _slice_mcc(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Compared:
    """Return MCC within a slice; with intervals where it is on record which images those are."""
    images = after["samples"]
    members = images.get("slices", {}).get(name)
    if members is None:
        old = before["slices"].get(name, {}).get("mcc")
        return _two(Estimate(old), Estimate(after["slices"][name]["mcc"]))
    mask = np.array(members, bool)
    drives = [drive for drive, inside in zip(images["drive"], mask, strict=True) if inside]
    truth = np.array(images["truth"], bool)[mask]
    return compare(truth, drives, _answers(before, mask), _answers(after, mask))["mcc"]


def _answers(evaluation: Mapping[str, Any], mask: NDArray[np.bool_] | None = None) -> Answers:
    p = _p(evaluation)
    return Answers(p=p if mask is None else p[mask], threshold=evaluation["threshold"])


def _p(evaluation: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return P(yes) of each image, NaN where nobody voted."""
    return np.array(evaluation["samples"]["p"], float)


def _with_interval(figures_of: Mapping[str, Any], key: str) -> Estimate:
    """Return a value with the interval that the evaluation noted beside it, if it did."""
    lower, upper = figures_of.get(f"{key}_interval") or (None, None)
    return Estimate(figures_of.get(key), lower, upper)


def _two(before: Estimate, after: Estimate) -> Compared:
    if before.value is None or after.value is None:
        return Compared(before, after, Estimate(None))
    return Compared(before, after, Estimate(after.value - before.value))


def _table(first: str, rows: Sequence[tuple[str, Compared]]) -> Table:
    return Table.of(
        f"{first}|before|after|change",
        [
            [
                name,
                cells.estimate(one.before),
                cells.estimate(one.after),
                cells.change(one.change, higher_is_better=name != _NAMES["ece"]),
            ]
            for name, one in rows
        ],
    )
