"""The figures of `show_retraining.py`: mAP50 on the split `test`, differences, shares, intervals.

    python tools/studies/retraining_figures.py --data construction_site_safety OUT [OUT ...]

reads the predictions.json of one or several runs, each with seeds of its own, and prints them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retraining_data import CLASSES, drive, from_rows, read_split

from cascade.metrics.average_precision import average_precision
from cascade.metrics.bootstrap import map50_draws
from cascade.predictions import Detections
from cascade.training.examples import Example

ALPHA = 0.05
Said = dict[tuple[int, str], list[Detections]]  # by seed and role


def main() -> int:
    """Print the figures of some runs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--draws", type=int, default=1000, help="of the bootstrap")
    parser.add_argument("runs", nargs="+", type=Path)
    args = parser.parse_args()
    said: Said = {}
    for run in args.runs:
        for name, rows in json.loads((run / "predictions.json").read_text()).items():
            role, seed = name.rsplit("-", 1)
            said[int(seed), role] = [from_rows(one) for one in rows]
    sys.stdout.write(json.dumps(figures(said, read_split(args.data, "test"), args.draws), indent=1))
    return 0


def figures(said: Said, test: Sequence[Example], draws: int) -> dict[str, Any]:
    """Return mAP50 of everything on the split `test`, and intervals of differences and ratios."""
    truths = [one.target for one in test]
    answers: dict[str, Any] = {
        "map50": {f"{role}-{seed}": map50(one, truths) for (seed, role), one in said.items()}
    }
    units = {
        "image": [str(one.image) for one in test],
        "drive": [drive(Path(str(one.image))) for one in test],
    }
    seeds = sorted({seed for seed, _ in said})
    for unit, groups in units.items():
        table = {
            key: map50_draws(found, truths, CLASSES, groups, draws=draws)
            for key, found in said.items()
        }
        answers[f"intervals by {unit}"] = {"n": len(set(groups)), **_intervals(table, seeds)}
    return answers


def map50(found: Sequence[Detections], truths: Sequence[Detections]) -> float:
    """Return mAP at IoU 0.5, in [0, 1]."""
    return round(average_precision(found, truths, CLASSES).map50 or 0.0, 4)


def _intervals(table: dict[tuple[int, str], Any], seeds: list[int]) -> dict[str, Any]:
    """Return the middle 95 % of differences and ratios of mAP50: each seed's, and of their mean."""

    def differ(of: Callable[[str], Any], one: str, other: str) -> Any:
        return of(one) - of(other)

    def keep(of: Callable[[str], Any], one: str, other: str) -> Any:
        return of(one) / np.maximum(of(other), 1e-9)

    questions: dict[str, tuple[Callable[..., Any], str, str]] = {
        "challenger - champion": (differ, "challenger", "champion"),
        "challenger - control": (differ, "challenger", "control"),
        "student / challenger": (keep, "student", "challenger"),
        "untaught / challenger": (keep, "untaught", "challenger"),
        "student - untaught": (differ, "student", "untaught"),
    }
    answers: dict[str, Any] = {}
    for name, (compare, one, other) in questions.items():
        each = {str(s): compare(lambda role, s=s: table[s, role], one, other) for s in seeds}
        each["mean"] = compare(
            lambda role: np.mean([table[s, role] for s in seeds], axis=0), one, other
        )
        answers[name] = {which: _middle(values) for which, values in each.items()}
    return answers


def _middle(values: Any) -> list[float]:
    return [round(float(one), 4) for one in np.quantile(values, [ALPHA / 2, 0.5, 1 - ALPHA / 2])]


if __name__ == "__main__":
    sys.exit(main())
