"""Which members run on which devices of this machine, in how many passes over the images.

One rule, the same for `curate manifest plan` and for a run:

1. Members that fit together on a GPU are all on every such GPU, and the GPUs share the images.
2. Where they do not, each is on the GPU that `planning.plan` gives it; every GPU sees all images.
3. What still fits beside no other waits for a pass of its own.

Servers of language models are no member of a pass: they have processes of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cascade.manifest import Manifest, Member
from cascade.planning import resources
from cascade.planning.resources import Gpu, Share, memory_mb


@dataclass(frozen=True)
class Lane:
    """Devices that do the same work.

    Attributes:
        members: Who is on each of them.
        devices: As torch names them, for example `cuda:0`; one name twice is two processes.
    """

    members: tuple[str, ...]
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Placement:
    """The lanes of each pass over the images; passes follow each other.

    Attributes:
        passes: In order; the lanes of one run side by side.
        batch_sizes: Of members that fit in smaller batches only, instead of the manifest's.
        unplaced: Members that fit on no GPU, not even one image at a time.
    """

    passes: tuple[tuple[Lane, ...], ...]
    batch_sizes: dict[str, int]
    unplaced: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return the placement in a sentence."""
        if not self.passes:
            return "nothing to place"
        told = []
        for lanes in self.passes:
            each = [f"{', '.join(one.members)} on {', '.join(one.devices)}" for one in lanes]
            told.append("; ".join(each))
        return " -- then ".join(told)


def place(manifest: Manifest, members: Sequence[str], gpus: Sequence[Gpu]) -> Placement:
    """Return who runs where.

    Args:
        manifest: The ensemble.
        members: Who is to run.
        gpus: What there is, in the order of their numbers; none for the CPU.
    """
    wanted = [manifest.member(name) for name in members]
    here = [one for one in wanted if one.tier != "language"]
    if not here:
        return Placement((), {})
    names = tuple(one.name for one in here)
    if not gpus:
        return Placement(((Lane(names, ("cpu",)),),), {})
    whole = memory_mb([_share(one) for one in here])
    homes = [f"cuda:{i}" for i, gpu in enumerate(gpus) if gpu.memory_mb >= whole]
    if homes:
        return Placement(((Lane(names, tuple(homes)),),), {})
    planned = resources.plan(manifest.model_copy(update={"members": tuple(here)}), 1, gpus)
    if len(gpus) > 1 and _is_whole(planned.shares, here):
        return Placement((_side_by_side(planned.shares, len(gpus)),), {})
    return _in_passes(here, gpus)


def _side_by_side(shares: Sequence[Share], gpus: int) -> tuple[Lane, ...]:
    on = {i: tuple(one.member for one in shares if (one.gpu or 0) == i) for i in range(gpus)}
    return tuple(Lane(members, (f"cuda:{i}",)) for i, members in on.items() if members)


def _in_passes(members: Sequence[Member], gpus: Sequence[Gpu]) -> Placement:
    """Fill pass after pass, in the manifest's order, for the GPUs that hold most."""
    room = max(one.memory_mb for one in gpus)
    devices = tuple(f"cuda:{i}" for i, one in enumerate(gpus) if one.memory_mb == room)
    groups: list[list[Share]] = []
    smaller: dict[str, int] = {}
    unplaced: list[str] = []
    for member in members:
        one = _shrunk(_share(member), room)
        if one is None:
            unplaced.append(member.name)
            continue
        if one.batch_size < member.batch_size:
            smaller[member.name] = one.batch_size
        home = next((group for group in groups if memory_mb([*group, one]) <= room), None)
        if home is None:
            groups.append([one])
        else:
            home.append(one)
    passes = tuple((Lane(tuple(one.member for one in group), devices),) for group in groups)
    return Placement(passes, smaller, tuple(unplaced))


def _shrunk(share: Share, room_mb: float) -> Share | None:
    """Return a member in the largest batches that fit on a GPU of its own; None where none do."""
    while share.batch_size and memory_mb([share]) > room_mb:
        share = replace(share, batch_size=share.batch_size // 2)
    return share if share.batch_size else None


def _share(member: Member) -> Share:
    return Share(member.name, resources.need_of(member), 1, member.batch_size, gpu=0)


def _is_whole(shares: Sequence[Share], members: Sequence[Member]) -> bool:
    """Tell whether every member has a place, at the batch size that it wants."""
    sizes = {one.name: one.batch_size for one in members}
    return all(one.fits and one.batch_size == sizes[one.member] for one in shares)
