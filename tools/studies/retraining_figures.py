"""Figures of the retraining study: mAP50 on the split `test`, with intervals.

    python tools/studies/retraining_figures.py --data construction_site_safety OUT [OUT ...]

reads the predictions.json of one or more runs with different seeds, and prints the figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from retraining_data import CLASSES, drive, from_rows, read_split

from cascade.metrics.average_precision import average_precision
from cascade.metrics.bootstrap import ap50_draws
from cascade.predictions import Detections
from cascade.training.examples import Example

ALPHA = 0.05
PredictionsByRole = dict[tuple[int, str], list[Detections]]  # by seed and role


def main() -> int:
    """Print the figures of some runs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws")
    parser.add_argument("runs", nargs="+", type=Path)
    args = parser.parse_args()
    predictions: PredictionsByRole = {}
    for run in args.runs:
        for name, rows in json.loads((run / "predictions.json").read_text()).items():
            role, seed = name.rsplit("-", 1)
            predictions[int(seed), role] = [from_rows(boxes) for boxes in rows]
    sys.stdout.write(
        json.dumps(figures(predictions, read_split(args.data, "test"), args.draws), indent=1)
    )
    return 0


def figures(predictions: PredictionsByRole, test: Sequence[Example], draws: int) -> dict[str, Any]:
    """Return mAP50 of every role on `test`, and intervals of differences and ratios."""
    truths = [example.target for example in test]
    answers: dict[str, Any] = {
        "map50": {
            f"{role}-{seed}": map50(boxes, truths) for (seed, role), boxes in predictions.items()
        }
    }
    units = {
        "image": [str(example.image) for example in test],
        "drive": [drive(Path(str(example.image))) for example in test],
    }
    seeds = sorted({seed for seed, _ in predictions})
    for unit, groups in units.items():
        table = {
            key: ap50_draws(boxes, truths, CLASSES, groups, draws=draws).map50
            for key, boxes in predictions.items()
        }
        answers[f"intervals by {unit}"] = {"n": len(set(groups)), **_intervals(table, seeds)}
    return answers


def map50(predictions: Sequence[Detections], truths: Sequence[Detections]) -> float:
    """Return mAP at IoU 0.5, in [0, 1]."""
    return round(average_precision(predictions, truths, CLASSES).map50 or 0.0, 4)


def _intervals(table: dict[tuple[int, str], Any], seeds: list[int]) -> dict[str, Any]:
    """Return 95 % intervals of differences and ratios of mAP50, by seed and for the mean."""

    def difference(draws: Callable[[str], Any], first: str, second: str) -> Any:
        return draws(first) - draws(second)

    def ratio(draws: Callable[[str], Any], first: str, second: str) -> Any:
        return draws(first) / np.maximum(draws(second), 1e-9)

    questions: dict[str, tuple[Callable[..., Any], str, str]] = {
        "challenger - champion": (difference, "challenger", "champion"),
        "challenger - control": (difference, "challenger", "control"),
        "student / challenger": (ratio, "student", "challenger"),
        "untaught / challenger": (ratio, "untaught", "challenger"),
        "student - untaught": (difference, "student", "untaught"),
    }
    answers: dict[str, Any] = {}
    for name, (compare, first, second) in questions.items():
        by_seed = {str(s): compare(lambda role, s=s: table[s, role], first, second) for s in seeds}
        by_seed["mean"] = compare(
            lambda role: np.mean([table[s, role] for s in seeds], axis=0), first, second
        )
        answers[name] = {key: _interval(values) for key, values in by_seed.items()}
    return answers


def _interval(values: Any) -> list[float]:
    return [round(float(end), 4) for end in np.quantile(values, [ALPHA / 2, 0.5, 1 - ALPHA / 2])]


if __name__ == "__main__":
    sys.exit(main())
