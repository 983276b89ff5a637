"""What a run will take, said before it is confirmed: members, samples, time, memory.

Time is what each member took for an image when it last ran on this dataset; where it never did,
the plan of `cascade.planning.resources` on a GPU, or the member's operations over `CPU_GFLOPS`
on a CPU.
Nothing is built or loaded, and predictions that are there are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cascade.manifest import Manifest, Member
from cascade.planning import resources
from cascade.planning.resources import Gpu, Mode
from curation.app.operators import options
from curation.storage import schema
from curation.worker import gpu_info

if TYPE_CHECKING:
    from fiftyone import DatasetView

TIMES = "\u00d7"  # as in 8 members TIMES 1,200 samples
# Of one core. Measured: 20 (tiny_rtdetr), 51, 66, 88 (mobilenet); taken near the low end, since
# reading and writing come on top.
CPU_GFLOPS = 30.0


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        members: How many members will look.
        samples: How many samples there are.
        predictions: How many pairs of both are missing.
        seconds: Of all members together; None where nobody knows.
        memory_mb: Of the GPU, or of the machine where there is none; None where nobody knows.
        basis: What the time rests on, in words.
    """

    members: int
    samples: int
    predictions: int
    seconds: float | None
    memory_mb: float | None
    basis: str

    @property
    def sentence(self) -> str:
        """All of that in words: members times samples, about how long, and how much memory."""
        noun = "member" if self.members == 1 else "members"
        work = f"{self.members} {noun} {TIMES} {self.samples:,} samples"
        if not self.predictions:
            return f"{work}: all of it is there already, so nothing will run."
        took = "time unknown" if self.seconds is None else f"≈ {duration(self.seconds)}"
        memory = "" if self.memory_mb is None else f", {size(self.memory_mb)}"
        there = self.members * self.samples - self.predictions
        rest = (
            f" {there:,} of {self.members * self.samples:,} predictions are there." if there else ""
        )
        return f"{work} {took}{memory} ({self.basis}).{rest}"


def of_members(
    view: DatasetView,
    manifest: Manifest,
    members: Sequence[Member],
    *,
    mode: Mode = "full",
    machine: Sequence[Gpu] | None = None,
) -> Estimate:
    """Return what it will take to have members look at what they have not seen.

    Args:
        view: A FiftyOne dataset or view.
        manifest: Of the members.
        members: Those that will look.
        mode: Whether the deeper tiers see every sample.
        machine: Its GPUs; by default, this machine's.
    """
    here = gpu_info.here() if machine is None else tuple(machine)
    samples = len(view)
    missing = _missing(view, [one.name for one in members])
    costs: Mapping[str, Any] = options.info(view._dataset, schema.COSTS) or {}
    seconds, sources = 0.0, set()
    unknown = False
    for one in members:
        seen = resources.images_of(one, manifest, missing[one.name], mode, resources.ASSUMED_SHARES)
        taken, source = _seconds(one, seen, costs.get(one.name), here)
        unknown |= taken is None and seen > 0
        seconds += taken or 0.0
        sources |= {source} if seen else set()
    return Estimate(
        members=len(members),
        samples=samples,
        predictions=sum(missing.values()),
        seconds=None if unknown else seconds,
        memory_mb=_memory_mb(members),
        basis=", ".join(sorted(sources)) or "nothing to do",
    )


def duration(seconds: float) -> str:
    """Return a time in the unit that people would use, such as `3 min`."""
    if seconds < 1:
        return "1 s"
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def size(mb: float) -> str:
    """Return an amount of memory in the unit that people would use, such as `1.1 GB`."""
    return f"{mb / 1024:.1f} GB" if mb >= 1000 else f"{math.ceil(mb)} MB"


def _missing(view: DatasetView, members: Sequence[str]) -> dict[str, int]:
    """Return how many samples of a view each member has not looked at; one question for all."""
    import fiftyone as fo

    paths = {name: f"{name}.{schema.FINGERPRINT}" for name in members}
    there = [name for name, path in paths.items() if view.get_field(path) is not None]
    found = view.aggregate([fo.Count(paths[name]) for name in there]) if there else []
    seen = dict(zip(there, found, strict=True))
    return {name: len(view) - int(seen.get(name, 0)) for name in members}


def _seconds(
    member: Member, images: int, cost: Mapping[str, Any] | None, machine: Sequence[Gpu]
) -> tuple[float | None, str]:
    if cost is not None:
        return images * float(cost["ms"]) / 1000, "measured on this dataset"
    if machine:
        return resources.seconds_of(member, images, machine[0]), "at least: planned from operations"
    if member.gflops is None:
        return None, "not measured yet"
    return images * member.gflops / CPU_GFLOPS, "guessed from operations, on one core"


def _memory_mb(members: Sequence[Member]) -> float | None:
    needs = [(resources.need_of(one), one) for one in members]
    if not needs or any(one.parameters_m is None and one.memory_mb is None for one in members):
        return None
    weights = sum(need.weights_mb + need.fixed_mb for need, _ in needs)
    return weights + max(need.activations_mb * one.batch_size for need, one in needs)
