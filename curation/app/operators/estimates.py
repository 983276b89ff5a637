"""Estimates of a run for its form: members, samples, time and memory.

A member's time is its last measured time per image on this dataset; without a measurement, the
plan of `cascade.planning.resources` on a GPU, or the member's operations at `CPU_GFLOPS` on a
CPU. Nothing is loaded, and existing predictions are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cascade.manifest import Manifest, Member
from cascade.planning import resources
from cascade.planning.resources import Gpu, Mode
from curation import formatting
from curation.app.operators import options
from curation.storage import schema
from curation.worker import gpu_info

if TYPE_CHECKING:
    from fiftyone import DatasetView

TIMES = "\u00d7"  # as in 8 members TIMES 1,200 samples
# Of one core. Measured: 20 (tiny_rtdetr), 51, 66, 88 (mobilenet). Near the low end, since reading
# and writing add to it.
CPU_GFLOPS = 30.0


@dataclass(frozen=True)
class Estimate:
    """Estimate of a run.

    Attributes:
        members: Number of members.
        samples: Number of samples.
        predictions: Number of missing predictions.
        seconds: Total time; None if unknown.
        memory_mb: Memory of the GPU, or of the machine without one; None if unknown.
        basis: Source of the time, in words.
    """

    members: int
    samples: int
    predictions: int
    seconds: float | None
    memory_mb: float | None
    basis: str

    @property
    def sentence(self) -> str:
        """The estimate in words."""
        members = formatting.quantity(self.members, "member")
        work = f"{members} {TIMES} {formatting.quantity(self.samples, 'sample')}"
        total = self.members * self.samples
        if not self.predictions:
            return f"{work}: all predictions exist, so nothing will run."
        time = "time unknown"
        if self.seconds is not None:
            time = f"≈ {formatting.duration(self.seconds)}"
        memory = "" if self.memory_mb is None else f", {formatting.memory(self.memory_mb)}"
        existing = total - self.predictions
        note = f" {existing:,} of {total:,} predictions exist already." if existing else ""
        return f"{work} {time}{memory} ({self.basis}).{note}"


def estimate_run(
    view: DatasetView,
    manifest: Manifest,
    members: Sequence[Member],
    *,
    mode: Mode = "full",
    machine: Sequence[Gpu] | None = None,
) -> Estimate:
    """Estimate the time and memory of the predictions that are missing.

    Args:
        view: A FiftyOne dataset or view.
        manifest: The members' manifest.
        members: Members to run.
        mode: Whether the deep tiers run on every sample.
        machine: GPUs of the machine; by default this machine's.
    """
    gpus = gpu_info.installed_gpus() if machine is None else tuple(machine)
    missing = _count_missing(view, [member.name for member in members])
    costs: Mapping[str, Any] = options.read_info(view._dataset, schema.COSTS) or {}
    total, sources = 0.0, set()
    is_unknown = False
    for member in members:
        images = resources.images_of(
            member, manifest, missing[member.name], mode, resources.ASSUMED_SHARES
        )
        seconds, source = _member_seconds(member, images, costs.get(member.name), gpus)
        is_unknown |= seconds is None and images > 0
        total += seconds or 0.0
        sources |= {source} if images else set()
    return Estimate(
        members=len(members),
        samples=len(view),
        predictions=sum(missing.values()),
        seconds=None if is_unknown else total,
        memory_mb=_memory_mb(members),
        basis=", ".join(sorted(sources)) or "nothing to do",
    )


def _count_missing(view: DatasetView, members: Sequence[str]) -> dict[str, int]:
    """Return the number of samples without a prediction, by member; one query for all."""
    import fiftyone as fo

    paths = {name: f"{name}.{schema.FINGERPRINT}" for name in members}
    declared = [name for name, path in paths.items() if view.get_field(path) is not None]
    counts = view.aggregate([fo.Count(paths[name]) for name in declared]) if declared else []
    existing = dict(zip(declared, counts, strict=True))
    return {name: len(view) - int(existing.get(name, 0)) for name in members}


def _member_seconds(
    member: Member, images: int, cost: Mapping[str, Any] | None, gpus: Sequence[Gpu]
) -> tuple[float | None, str]:
    if cost is not None:
        return images * float(cost["ms"]) / 1000, "measured on this dataset"
    if gpus:
        return resources.seconds_of(member, images, gpus[0]), "at least: planned from operations"
    if member.gflops is None:
        return None, "not measured yet"
    return images * member.gflops / CPU_GFLOPS, "guessed from operations, on one core"


def _memory_mb(members: Sequence[Member]) -> float | None:
    if not members or any(m.parameters_m is None and m.memory_mb is None for m in members):
        return None
    needs = [(resources.memory_need(member), member.batch_size) for member in members]
    weights = sum(need.weights_mb + need.fixed_mb for need, _ in needs)
    return weights + max(need.activations_mb * batch_size for need, batch_size in needs)
