"""What the run of an ensemble keeps, from the record of its round and its evaluation. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.checkpoints import licenses
from cascade.checkpoints.licenses import KINDS
from curation.report import figures
from curation.tracking.run_contents import About, DataInput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cascade.ensemble import Ensemble

_METRICS = ("mcc", "precision", "recall", "ece", "map", "map50", "n_images", "n_positive")
_OF_SLICE = ("mcc", "precision", "recall", "map50")
_TABLES = ("slices", "classes", "members")
_FIT = ("epochs", "best_epoch", "seconds", "checkpoint")


def of_round(
    record: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    *,
    dataset: str,
    tag: str,
    trained: bool,
) -> About:
    """Return the content of a run.

    Args:
        record: Of the round, as `rounds.Round.record` gives it.
        evaluation: Of the ensemble, on the frozen set.
        dataset: The name of the FiftyOne dataset.
        tag: The sample tag of what the round chose.
        trained: Whether the round trained this ensemble; it may also be what it began with.
    """
    fits: Mapping[str, Any] = _summary(record, "train").get("members", {}) if trained else {}
    truth = np.array(evaluation["samples"]["truth"], bool)
    p = np.array(evaluation["samples"]["p"], float)
    return About(
        params=_params(record, evaluation, fits),
        metrics=_metrics(evaluation),
        curves=_curves(fits),
        inputs=_inputs(record, evaluation, dataset, tag, trained),
        figures=_plots(evaluation, fits, truth, p),
        tables={
            "confusion": confusion(truth, p, evaluation["threshold"]),
            **{
                key: evaluation[key]
                for key in ("slices", "classes", "members")
                if key in evaluation
            },
        },
    )


def tags_of(ensemble: Ensemble, evaluation: Mapping[str, Any]) -> dict[str, str]:
    """Return what is noted with a version: what it is made of, on what terms, judged on what."""
    members = [ensemble.manifest.member(name) for name in ensemble.checkpoints]
    counted = Counter(one.license for one in members)
    kinds = [licenses.kind(one.license) for one in members]
    return {
        "manifest": ensemble.manifest.identity,
        "taxonomy": ensemble.taxonomy.identity,
        "calibration": ensemble.calibration.identity,
        "members": ", ".join(ensemble.checkpoints),
        "licences": ", ".join(f"{name} ({n})" for name, n in sorted(counted.items())),
        "strictest_licence": max(kinds, key=KINDS.index) if kinds else "none",
        "evaluation_set": evaluation_set(evaluation),
    }


def evaluation_set(evaluation: Mapping[str, Any]) -> str:
    """Return 16 hex digits over the images and the truth that the figures are about."""
    about = {key: evaluation["samples"][key] for key in ("id", "truth")}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def confusion(
    truth: np.ndarray[Any, Any], p: np.ndarray[Any, Any], threshold: float
) -> dict[str, int]:
    """Return how often each answer was right and wrong; no probability counts as a no."""
    says_yes = p >= threshold  # False for NaN
    return {
        "true_positive": int((truth & says_yes).sum()),
        "false_positive": int((~truth & says_yes).sum()),
        "false_negative": int((truth & ~says_yes).sum()),
        "true_negative": int((~truth & ~says_yes).sum()),
    }


def _summary(record: Mapping[str, Any], stage: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = record["stages"].get(stage, {}).get("summary", {})
    return found


def _params(
    record: Mapping[str, Any], evaluation: Mapping[str, Any], fits: Mapping[str, Any]
) -> dict[str, Any]:
    known = {key: record.get(key) for key in ("round", "manifest", "taxonomy", "labeler", "seed")}
    known |= {"threshold": evaluation["threshold"], "split": evaluation["split"]}
    known["examples"] = _summary(record, "train").get("examples") if fits else None
    of_fits = {
        f"{member}/{key}": fit[key] for member, fit in fits.items() for key in _FIT if key in fit
    }
    return {key: one for key, one in {**known, **of_fits}.items() if one is not None}


def _metrics(evaluation: Mapping[str, Any]) -> dict[str, float | None]:
    latency = {f"latency_{key}_ms": one for key, one in evaluation["latency_ms"].items()}
    classes = {
        _key("class", name, "ap50"): one["ap50"]
        for name, one in evaluation.get("classes", {}).items()
    }
    slices = {
        _key("slice", name, key): one.get(key)
        for name, one in evaluation.get("slices", {}).items()
        for key in _OF_SLICE
    }
    return {key: evaluation.get(key) for key in _METRICS} | latency | classes | slices


def _curves(fits: Mapping[str, Any]) -> dict[str, Sequence[float | None]]:
    return {
        _key(member, key): fit[key]
        for member, fit in fits.items()
        for key in ("train_loss", "val_map50")
        if fit.get(key)
    }


def _inputs(
    record: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    dataset: str,
    tag: str,
    trained: bool,
) -> tuple[DataInput, ...]:
    number = int(record["round"])
    judged = DataInput(
        dataset, "", evaluation_set(evaluation), "evaluation", number, evaluation["n_images"]
    )
    digest = _summary(record, "label").get("dataset_hash")
    if not (trained and digest):
        return (judged,)
    examples = _summary(record, "train").get("examples")
    return (DataInput(dataset, tag, digest, "training", number, examples), judged)


def _plots(
    evaluation: Mapping[str, Any],
    fits: Mapping[str, Any],
    truth: np.ndarray[Any, Any],
    p: np.ndarray[Any, Any],
) -> dict[str, Figure]:
    losses = {member: fit["train_loss"] for member, fit in fits.items() if fit.get("train_loss")}
    found = {
        "calibration": figures.calibration_curve(truth, {"ensemble": p}),
        "confusion": _confusion_plot(truth, p, evaluation["threshold"]),
    }
    if losses:
        found["training"] = figures.training_curves(losses)
    slices = evaluation.get("slices", {})
    if slices:
        table = [
            [np.nan if one.get(key) is None else one[key] for key in _OF_SLICE]
            for one in slices.values()
        ]
        counts = [one["n"] for one in slices.values()]
        found["slices"] = figures.slice_heat(
            list(slices), _OF_SLICE, np.array(table, float), counts=counts
        )
    return found


def _confusion_plot(
    truth: np.ndarray[Any, Any], p: np.ndarray[Any, Any], threshold: float
) -> Figure:
    """Draw the share of each answer among the images of either truth."""
    found = confusion(truth, p, threshold)
    rows = [
        [found["true_positive"], found["false_negative"]],
        [found["false_positive"], found["true_negative"]],
    ]
    counts = [sum(row) for row in rows]
    shares = [[one / max(sum(row), 1) for one in row] for row in rows]
    return figures.slice_heat(
        ["truth yes", "truth no"], ["said yes", "said no"], np.array(shares), counts=counts
    )


def _key(*parts: str) -> str:
    """Return a name as MLflow takes it for a metric."""
    return "/".join(re.sub(r"[^\w. :-]", "-", one) for one in parts)
