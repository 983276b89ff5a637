"""Placement of members on the devices of this machine, in one or more passes over the images.

`curate manifest plan` and every run share these rules:

1. Members that fit on a GPU together run on every such GPU, and the GPUs share the images.
2. Otherwise each member runs on the GPU that `resources.plan` assigns to it, and every GPU
   processes all images.
3. Members that do not fit next to the others run in further passes.

Language models are excluded: their servers are separate processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cascade.manifest import Manifest, Member
from cascade.planning import resources
from cascade.planning.resources import Gpu, Share, memory_mb


@dataclass(frozen=True)
class Lane:
    """Devices with the same members.

    Attributes:
        members: Members on each of the devices.
        devices: Torch device names, for example `cuda:0`; a repeated name starts two processes.
    """

    members: tuple[str, ...]
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Placement:
    """The lanes of each pass over the images.

    Attributes:
        passes: The passes, in order; the lanes of a pass run side by side.
        batch_sizes: Reduced batch sizes, by member.
        unplaced: Members that fit on no GPU, not even with a batch size of 1.
    """

    passes: tuple[tuple[Lane, ...], ...]
    batch_sizes: dict[str, int]
    unplaced: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return the placement in a sentence."""
        if not self.passes:
            return "nothing to place"
        return " -- then ".join(
            "; ".join(f"{', '.join(lane.members)} on {', '.join(lane.devices)}" for lane in lanes)
            for lanes in self.passes
        )


def place(manifest: Manifest, members: Sequence[str], gpus: Sequence[Gpu]) -> Placement:
    """Return the placement of members on GPUs.

    Args:
        manifest: The ensemble.
        members: Names of the members to run.
        gpus: The GPUs in the order of their indices; empty for a CPU.
    """
    local = [manifest.member(name) for name in members]
    local = [member for member in local if member.tier != "language"]
    if not local:
        return Placement((), {})
    names = tuple(member.name for member in local)
    if not gpus:
        return Placement(((Lane(names, ("cpu",)),),), {})
    total_mb = memory_mb([_share(member) for member in local])
    devices = tuple(f"cuda:{i}" for i, gpu in enumerate(gpus) if gpu.memory_mb >= total_mb)
    if devices:
        return Placement(((Lane(names, devices),),), {})
    plan = resources.plan(manifest.model_copy(update={"members": tuple(local)}), 1, gpus)
    if len(gpus) > 1 and _fits_unchanged(plan.shares, local):
        return Placement((_side_by_side(plan.shares, len(gpus)),), {})
    return _in_passes(local, gpus)


def _side_by_side(shares: Sequence[Share], gpus: int) -> tuple[Lane, ...]:
    members = {i: tuple(s.member for s in shares if (s.gpu or 0) == i) for i in range(gpus)}
    return tuple(Lane(names, (f"cuda:{i}",)) for i, names in members.items() if names)


def _in_passes(members: Sequence[Member], gpus: Sequence[Gpu]) -> Placement:
    """Fill pass after pass on the largest GPUs, in the manifest's order."""
    capacity_mb = max(gpu.memory_mb for gpu in gpus)
    devices = tuple(f"cuda:{i}" for i, gpu in enumerate(gpus) if gpu.memory_mb == capacity_mb)
    groups: list[list[Share]] = []
    batch_sizes: dict[str, int] = {}
    unplaced: list[str] = []
    for member in members:
        share = _shrunk(_share(member), capacity_mb)
        if share is None:
            unplaced.append(member.name)
            continue
        if share.batch_size < member.batch_size:
            batch_sizes[member.name] = share.batch_size
        for group in groups:
            if memory_mb([*group, share]) <= capacity_mb:
                group.append(share)
                break
        else:
            groups.append([share])
    passes = tuple((Lane(tuple(share.member for share in group), devices),) for group in groups)
    return Placement(passes, batch_sizes, tuple(unplaced))


def _shrunk(share: Share, capacity_mb: float) -> Share | None:
    """Return the share with the largest batch size that fits on a GPU; None if none fits."""
    while share.batch_size and memory_mb([share]) > capacity_mb:
        share = replace(share, batch_size=share.batch_size // 2)
    return share if share.batch_size else None


def _share(member: Member) -> Share:
    return Share(member.name, resources.memory_need(member), 1, member.batch_size, gpu=0)


def _fits_unchanged(shares: Sequence[Share], members: Sequence[Member]) -> bool:
    """Return whether every member fits at the batch size of the manifest."""
    sizes = {member.name: member.batch_size for member in members}
    return all(share.fits and share.batch_size == sizes[share.member] for share in shares)
