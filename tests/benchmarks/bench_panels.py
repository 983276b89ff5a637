"""How long panels take on 100,000 samples of 8 members: from the App's request to its answer.

Figures that no aggregation can bring in time are counted once, as at the end of a stage; what
that takes is printed, too. Every panel is then called as the App calls it, several times; the
first call of the process also pays for imports and is printed by itself.

    python tests/benchmarks/bench_panels.py [--size 100000] [--most 2.0]

Exits with 1 where the median of a panel is above `--most` seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from own_database import own_database

ROOT = Path(__file__).parents[2]
PANELS = {
    "cascade": "watch_cascade/cascade_panel",
    "hardness": "look_at_hardness/hardness_panel",
    "round": "follow_rounds/round_panel",
    "failures": "watch_quality/failures_panel",
    "drift": "watch_quality/drift_panel",
    "registry": "promote_ensembles/registry_panel",
    "runs": "follow_runs/runs_panel",
    "sample": "compare_members/sample_panel",
}
CLICKS: dict[str, tuple[str, dict[str, Any]]] = {
    "cascade, a cell": ("cascade", {"__method__": "show_disagreement", "y": "detr", "x": "sam"}),
    "hardness, a column": ("hardness", {"__method__": "show_column", "x": 0.525}),
    "hardness, a lasso": (
        "hardness", {"__method__": "pick", "data": [{"id": str(i)} for i in range(200)]}
    ),
    "round, an arm": ("round", {"__method__": "show_arm", "y": "random", "trace": "waiting"}),
    "failures, a cell": (
        "failures", {"__method__": "show_cell", "y": "time_of_day=night (9)", "x": "detr"}
    ),
}  # fmt: skip
REPEATS = 5
COPIES = 50  # the database copies faster than Python writes


def main() -> int:
    """Build, count, call; return 1 where a panel is too slow."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--most", type=float, default=2.0, help="seconds that a panel may take")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-panels-") as home:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{home}/mlflow.db"
        with own_database(Path(home)):
            os.environ["FIFTYONE_PLUGINS_DIR"] = str(ROOT / "plugins")
            return _measure(asked.size, asked.most)


def _measure(size: int, most: float) -> int:
    dataset = _timed(f"write {size:,} samples", lambda: _build(size))
    _count(dataset)
    slow = []
    state: dict[str, Any] = {}
    calls: dict[str, tuple[str, dict[str, Any]]] = {
        **{name: (name, {"__method__": "on_load"}) for name in PANELS}, **CLICKS
    }  # fmt: skip
    sample = dataset.first().id
    _say(f"{'':28}{'first':>9}{'median':>9}{'most':>9}  load {os.getloadavg()[0]:.1f}")
    for name, (panel, params) in calls.items():
        taken = []
        for _ in range(1 + REPEATS):
            began = time.perf_counter()
            _call(PANELS[panel], dataset, params | {"panel_state": state}, sample)
            taken.append(time.perf_counter() - began)
        median = statistics.median(taken[1:])
        _say(f"{name:28}{taken[0]:8.2f}s{median:8.2f}s{max(taken[1:]):8.2f}s")
        if median > most:
            slow.append(name)
    dataset.delete()
    if slow:
        _say(f"Above {most} s: {', '.join(slow)}")
    return 1 if slow else 0


def _build(size: int) -> Any:
    sys.path.insert(0, str(ROOT / "tests" / "tiny"))
    import fiftyone as fo
    import panel_dataset

    dataset = fo.Dataset("bench-panels", persistent=True)
    panel_dataset.fill(dataset, size // COPIES, members=panel_dataset.MEMBERS, labeled=0.05)
    panel_dataset.multiply(dataset, COPIES)
    panel_dataset.place(dataset)
    panel_dataset.choose(dataset, 1, 500)
    return dataset


def _count(dataset: Any) -> None:
    """Do what stages do when they end."""
    from curation.presentation import error_analysis, refresh

    _timed("at the end of a stage", lambda: refresh.after_stage(dataset))
    n = _timed("compare with ground truth", lambda: error_analysis.compare(dataset))
    _say(f"{'':28}({n:,} samples with ground truth)")
    _timed("again, at the end of a stage", lambda: refresh.after_stage(dataset))


def _call(uri: str, dataset: Any, params: dict[str, Any], sample: str) -> None:
    from fiftyone.operators.executor import execute_or_delegate_operator

    request = {
        "dataset_name": dataset.name,
        "params": {"panel_id": "p", **params},
        "current_sample": sample,
    }
    done = asyncio.run(execute_or_delegate_operator(f"@curation/{uri}", request, exhaust=True))
    if done.error is not None:
        raise RuntimeError(done.error)


def _timed(what: str, work: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    result = work()
    _say(f"{what:28}{time.perf_counter() - began:8.2f}s")
    return result


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
