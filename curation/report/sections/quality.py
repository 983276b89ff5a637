"""Report sections on quality before and after training, and on the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation import formatting
from curation.report import cells, figures
from curation.report.facts import RoundRecord
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


def overall(round_record: RoundRecord) -> Section:
    """Return the section on metrics before and after: overall, by member and by class."""
    title = "Before and after"
    if round_record.before is None or round_record.after is None:
        return Section(title, not_run="Not run: no evaluation on a frozen set.")
    before, after = round_record.before, round_record.after
    rows = [*_decisions(before, after).items(), *_boxes(before, after).items()]
    changes = [Change(name, metric.before, metric.after) for name, metric in rows]
    truth = np.array(after["samples"]["truth"], bool)
    probabilities = {"before": _p(before), "after": _p(after)}
    plots = [Plot("Metrics as bars; lines are intervals.", lambda: figures.before_after(changes))]
    if len(truth):
        plots.append(
            Plot(
                "Observed share of yes against the predicted probability.",
                lambda: figures.calibration_curve(truth, probabilities),
            )
        )
    return Section(
        title,
        text=(_set_summary(after),),
        tables=(
            _table("metric", rows),
            _table("member, mAP at IoU 0.5", list(_members(before, after).items())),
            _class_table(before, after),
        ),
        plots=tuple(plots),
    )


def slices(round_record: RoundRecord) -> Section:
    """Return the section on metrics by slice."""
    title = "By slice"
    if round_record.before is None or round_record.after is None:
        return Section(title, not_run="Not run: no evaluation on a frozen set.")
    by_slice: Mapping[str, Any] = round_record.after["slices"]
    if not by_slice:
        return Section(title, text=("No slice of the frozen set is large enough to be measured.",))
    names = sorted(by_slice)
    values = np.array(
        [
            [np.nan if by_slice[name].get(key) is None else by_slice[name][key] for key in _IN_HEAT]
            for name in names
        ],
        float,
    )
    counts = [by_slice[name]["n"] for name in names]
    columns = ["MCC", "recall", "precision", "mAP50"]
    rows = [_slice_row(name, round_record.before, round_record.after) for name in names]
    return Section(
        title,
        tables=(
            Table.of(
                "slice|images#|positive#|MCC before|MCC after|change of MCC|recall|mAP50",
                rows,
            ),
        ),
        plots=(
            Plot(
                "Metrics after training by slice (number of images in parentheses).",
                lambda: figures.slice_heat(names, columns, values, counts=counts),
            ),
        ),
    )


def verdict(round_record: RoundRecord) -> Section:
    """Return the section on the gate's verdict, with every check."""
    title = "Verdict"
    result = round_record.verdict
    if result is None:
        return Section(title, not_run="Not run: no challenger was judged.")
    marks: dict[bool | None, Cell] = {
        True: Cell("✓ holds", "good"),
        False: Cell("✗ fails", "bad"),
        None: Cell("reported only", "muted"),
    }
    rows: list[list[Cell | str]] = [
        [check["name"], marks[check["passed"]], check["sentence"]] for check in result["checks"]
    ]
    text = [outcome(result), *result["reasons"]]
    if result.get("needed") and result["needed"] not in text:
        text.append(result["needed"])
    published = round_record.summary("publish")
    if published and published.get("sentence"):
        text.append(published["sentence"])
    return Section(title, text=tuple(text), tables=(Table.of("check|result|details", rows),))


def outcome(result: Mapping[str, Any]) -> str:
    """Return the outcome of a verdict as a sentence with the change of MCC."""
    sentence = _OUTCOMES[result["outcome"]]
    if result["delta_mcc"] is None:
        return sentence
    return (
        f"{sentence} MCC changed by {result['delta_mcc']:+.3f} "
        f"(one-sided 95 % bounds {result['lower']:+.3f} and {result['upper']:+.3f})."
    )


def main_metrics(evaluation: Mapping[str, Any]) -> dict[str, Estimate]:
    """Return MCC and mAP of one evaluation, with intervals where available."""
    mcc = _decisions(evaluation, evaluation)["MCC"].before
    return {"MCC": mcc, "mAP at IoU 0.5": _with_interval(evaluation, "map50")}


def _set_summary(after: Mapping[str, Any]) -> str:
    drives = formatting.quantity(len(set(after["samples"]["drive"])), "drive")
    images = formatting.quantity(after["n_images"], "image")
    return (
        f"Frozen {after['split']} split: {images} of {drives}, {after['n_positive']} positive. "
        "Brackets are 95 % bootstrap intervals over drives; both ensembles share the draws."
    )


def _decisions(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Compared]:
    """Return the image-level metrics by display name."""
    images = after["samples"]
    if not images["id"]:
        undefined = Compared(Estimate(None), Estimate(None), Estimate(None))
        return dict.fromkeys(_NAMES.values(), undefined)
    metrics = compare(
        np.array(images["truth"], bool), images["drive"], _answers(before), _answers(after)
    )
    return {_NAMES[key]: metric for key, metric in metrics.items()}


def _boxes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Compared]:
    return {
        name: _compared(_with_interval(before, key), _with_interval(after, key))
        for key, name in _BOX_NAMES.items()
    }


def _members(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Compared]:
    missing: Mapping[str, Any] = {}
    return {
        name: _compared(
            _with_interval(before["members"].get(name, missing), "map50"),
            _with_interval(after["members"].get(name, missing), "map50"),
        )
        for name in sorted({*before["members"], *after["members"]})
    }


def _class_table(before: Mapping[str, Any], after: Mapping[str, Any]) -> Table:
    rows: list[list[Cell | str]] = []
    for name, result in after["classes"].items():
        compared = _compared(
            _with_interval(before["classes"].get(name, {}), "ap50"), _with_interval(result, "ap50")
        )
        rows.append(
            [
                name,
                str(result["n"]),
                cells.estimate(compared.before),
                cells.estimate(compared.after),
                cells.change(compared.change),
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
    """Return MCC within a slice, with intervals if its images are recorded."""
    images = after["samples"]
    members = images.get("slices", {}).get(name)
    if members is None:
        old = before["slices"].get(name, {}).get("mcc")
        return _compared(Estimate(old), Estimate(after["slices"][name]["mcc"]))
    mask = np.array(members, bool)
    drives = [drive for drive, inside in zip(images["drive"], mask, strict=True) if inside]
    truth = np.array(images["truth"], bool)[mask]
    return compare(truth, drives, _answers(before, mask), _answers(after, mask))["mcc"]


def _answers(evaluation: Mapping[str, Any], mask: NDArray[np.bool_] | None = None) -> Answers:
    p = _p(evaluation)
    return Answers(p=p if mask is None else p[mask], threshold=evaluation["threshold"])


def _p(evaluation: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return P(yes) of each image, NaN without votes."""
    return np.array(evaluation["samples"]["p"], float)


def _with_interval(figures_of: Mapping[str, Any], key: str) -> Estimate:
    """Return a value with its recorded interval, if any."""
    lower, upper = figures_of.get(f"{key}_interval") or (None, None)
    return Estimate(figures_of.get(key), lower, upper)


def _compared(before: Estimate, after: Estimate) -> Compared:
    if before.value is None or after.value is None:
        return Compared(before, after, Estimate(None))
    return Compared(before, after, Estimate(after.value - before.value))


def _table(first: str, rows: Sequence[tuple[str, Compared]]) -> Table:
    return Table.of(
        f"{first}|before|after|change",
        [
            [
                name,
                cells.estimate(metric.before),
                cells.estimate(metric.after),
                cells.change(metric.change, higher_is_better=name != _NAMES["ece"]),
            ]
            for name, metric in rows
        ],
    )
