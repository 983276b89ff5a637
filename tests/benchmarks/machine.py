"""What a benchmark says beside its numbers: the machine, the load, and a table of medians."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """Return the CPU's model, the cores that this process may use, the load, and the date."""
    model = "unknown CPU"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [row for row in cpuinfo.read_text().splitlines() if row.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "date": datetime.now(UTC).date().isoformat(),
    }


def timed(do: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return the seconds and the CPU seconds of this process that a call takes, and its value."""
    began, cpu = time.perf_counter(), time.process_time()
    found = do()
    return time.perf_counter() - began, time.process_time() - cpu, found


def side_by_side(ways: dict[str, Callable[[], Any]], times: int) -> dict[str, tuple[float, float]]:
    """Return the median seconds and CPU seconds of each way, each run in turn, `times` times."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(times):
        for name, do in ways.items():
            seen[name].append(timed(do)[:2])
    return {
        name: (statistics.median(s for s, _ in runs), statistics.median(c for _, c in runs))
        for name, runs in seen.items()
    }


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows of text and numbers as a Markdown table."""
    cells = [[f"{one:.4g}" if isinstance(one, float) else str(one) for one in row] for row in rows]
    lines = [list(heads), ["---"] * len(heads), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def peak_gib() -> float:
    """Return the most memory that this process has had so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
