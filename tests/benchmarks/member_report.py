"""What `bench_members` says of its members: what is not as planned, and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PARAMETERS_OFF, MEMORY_OFF = 0.02, 0.15


def faults_of(row: Mapping[str, Any], *, tiny: bool) -> list[str]:
    """Return what is not as planned."""
    faults = []
    wanted = row.get("manifest_parameters_m")
    if wanted and not tiny and abs(row["parameters_m"] / wanted - 1) > PARAMETERS_OFF:
        faults.append(f"{row['parameters_m']} M parameters, {wanted} in the manifest")
    for name, measured in (("planned_mb", "memory"), ("half_planned_mb", "half")):
        if row.get(measured) and abs(row[name] / row[measured]["total"] - 1) > MEMORY_OFF:
            faults.append(f"{name} {row[name]:.0f}, measured {row[measured]['total']:.0f}")
    return faults


_COLUMNS = (
    "member", "batch", "M parameters", "plan MiB", "GPU MiB", "plan / GPU", "allocated MiB",
    "reserved MiB", "half batch: plan / GPU", "forward images/s", "all three calls images/s",
    "outputs an image",
)  # fmt: skip


def table(rows: Sequence[Mapping[str, Any]], all_of_them: Mapping[str, Any] | None) -> str:
    """Return the results as a Markdown table."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + " --- |" * len(_COLUMNS)]
    for row in rows:
        half = _ratio(row.get("half_planned_mb"), row.get("half"))
        cells = [row["member"], row["batch_size"], row["parameters_m"], *_memory_cells(row), half]
        cells += [row["forward_images_s"], row["images_s"], f"{row['outputs']:.1f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    if all_of_them:
        name = f"all {len(all_of_them['members'])} together"
        cells = [name, all_of_them["batch_size"], "", *_memory_cells(all_of_them), *[""] * 4]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def _memory_cells(row: Mapping[str, Any]) -> list[str]:
    took = row["memory"]
    each = [f"{took[name]:.0f}" if took else "" for name in ("total", "allocated", "reserved")]
    return [f"{row['planned_mb']:.0f}", each[0], _ratio(row["planned_mb"], took), *each[1:]]


def _ratio(planned: float | None, took: Mapping[str, float] | None) -> str:
    return f"{planned / took['total']:.2f}" if planned and took else ""
