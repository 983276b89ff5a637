"""Contents of an ensemble's run, from the record of its round and its evaluation. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.arrays import BoolArray, FloatArray
from cascade.checkpoints import licenses
from cascade.checkpoints.licenses import KINDS
from curation.report import figures
from curation.tracking.run_contents import DataInput, RunContents

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cascade.ensemble import Ensemble

_METRICS = ("mcc", "precision", "recall", "ece", "map", "map50", "n_images", "n_positive")
_SLICE_METRICS = ("mcc", "precision", "recall", "map50")
_TABLES = ("slices", "classes", "members")
_FIT_PARAMS = ("epochs", "best_epoch", "seconds", "checkpoint")


def from_round(
    record: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    *,
    dataset: str,
    tag: str,
    trained: bool,
) -> RunContents:
    """Return the contents of a run.

    Args:
        record: Record of the round (`rounds.Round.record`).
        evaluation: Evaluation of the ensemble on the frozen set.
        dataset: Name of the FiftyOne dataset.
        tag: Sample tag of the round's batch.
        trained: Whether the round trained this ensemble, rather than starting from it.
    """
    fits: Mapping[str, Any] = _summary(record, "train").get("members", {}) if trained else {}
    truth = np.array(evaluation["samples"]["truth"], bool)
    p = np.array(evaluation["samples"]["p"], float)
    return RunContents(
        params=_params(record, evaluation, fits),
        metrics=_metrics(evaluation),
        curves=_curves(fits),
        inputs=_inputs(record, evaluation, dataset, tag, trained),
        figures=_plots(evaluation, fits, truth, p),
        tables={
            "confusion": confusion(truth, p, evaluation["threshold"]),
            **{key: evaluation[key] for key in _TABLES if key in evaluation},
        },
    )


def version_tags(ensemble: Ensemble, evaluation: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a version: its parts, licenses and evaluation set."""
    members = [ensemble.manifest.member(name) for name in ensemble.checkpoints]
    counts = Counter(member.license for member in members)
    kinds = [licenses.kind(member.license) for member in members]
    return {
        "manifest": ensemble.manifest.identity,
        "taxonomy": ensemble.taxonomy.identity,
        "calibration": ensemble.calibration.identity,
        "members": ", ".join(ensemble.checkpoints),
        "licences": ", ".join(f"{name} ({n})" for name, n in sorted(counts.items())),
        "strictest_licence": max(kinds, key=KINDS.index) if kinds else "none",
        "evaluation_set": evaluation_set_hash(evaluation),
    }


def evaluation_set_hash(evaluation: Mapping[str, Any]) -> str:
    """Return 16 hex digits of the hash of the evaluated images and their ground truth."""
    content = {key: evaluation["samples"][key] for key in ("id", "truth")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def confusion(truth: BoolArray, p: FloatArray, threshold: float) -> dict[str, int]:
    """Return the confusion counts; a missing probability (NaN) counts as a no."""
    says_yes = p >= threshold  # False for NaN
    return {
        "true_positive": int((truth & says_yes).sum()),
        "false_positive": int((~truth & says_yes).sum()),
        "false_negative": int((truth & ~says_yes).sum()),
        "true_negative": int((~truth & ~says_yes).sum()),
    }


def _summary(record: Mapping[str, Any], stage: str) -> Mapping[str, Any]:
    summary: Mapping[str, Any] = record["stages"].get(stage, {}).get("summary", {})
    return summary


def _params(
    record: Mapping[str, Any], evaluation: Mapping[str, Any], fits: Mapping[str, Any]
) -> dict[str, Any]:
    params = {key: record.get(key) for key in ("round", "manifest", "taxonomy", "labeler", "seed")}
    params |= {"threshold": evaluation["threshold"], "split": evaluation["split"]}
    params["examples"] = _summary(record, "train").get("examples") if fits else None
    for member, fit in fits.items():
        params |= {f"{member}/{key}": fit[key] for key in _FIT_PARAMS if key in fit}
    return {key: value for key, value in params.items() if value is not None}


def _metrics(evaluation: Mapping[str, Any]) -> dict[str, float | None]:
    latency = {f"latency_{key}_ms": value for key, value in evaluation["latency_ms"].items()}
    classes = {
        _key("class", name, "ap50"): metrics["ap50"]
        for name, metrics in evaluation.get("classes", {}).items()
    }
    slices = {
        _key("slice", name, key): metrics.get(key)
        for name, metrics in evaluation.get("slices", {}).items()
        for key in _SLICE_METRICS
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
    evaluated = DataInput(
        dataset, "", evaluation_set_hash(evaluation), "evaluation", number, evaluation["n_images"]
    )
    digest = _summary(record, "label").get("dataset_hash")
    if not (trained and digest):
        return (evaluated,)
    examples = _summary(record, "train").get("examples")
    return (DataInput(dataset, tag, digest, "training", number, examples), evaluated)


def _plots(
    evaluation: Mapping[str, Any],
    fits: Mapping[str, Any],
    truth: BoolArray,
    p: FloatArray,
) -> dict[str, Figure]:
    losses = {member: fit["train_loss"] for member, fit in fits.items() if fit.get("train_loss")}
    plots = {
        "calibration": figures.calibration_curve(truth, {"ensemble": p}),
        "confusion": _confusion_plot(truth, p, evaluation["threshold"]),
    }
    if losses:
        plots["training"] = figures.training_curves(losses)
    slices = evaluation.get("slices", {})
    if slices:
        table = [
            [np.nan if metrics.get(key) is None else metrics[key] for key in _SLICE_METRICS]
            for metrics in slices.values()
        ]
        counts = [metrics["n"] for metrics in slices.values()]
        plots["slices"] = figures.slice_heat(
            list(slices), _SLICE_METRICS, np.array(table, float), counts=counts
        )
    return plots


def _confusion_plot(truth: BoolArray, p: FloatArray, threshold: float) -> Figure:
    """Draw the share of each answer among the images with positive and negative truth."""
    count = confusion(truth, p, threshold)
    rows = [
        [count["true_positive"], count["false_negative"]],
        [count["false_positive"], count["true_negative"]],
    ]
    counts = [sum(row) for row in rows]
    shares = [[cell / max(sum(row), 1) for cell in row] for row in rows]
    return figures.slice_heat(
        ["truth yes", "truth no"], ["said yes", "said no"], np.array(shares), counts=counts
    )


def _key(*parts: str) -> str:
    """Return a metric's name in the characters that MLflow allows."""
    return "/".join(re.sub(r"[^\w. :-]", "-", part) for part in parts)
