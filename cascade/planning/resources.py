"""What a manifest will need before it starts: memory, GPUs, time. Nothing is built or loaded.

**Memory**, in MiB, of one process on one GPU:

    need = CONTEXT_MB                                  what CUDA takes before the first tensor
         + sum over members of weights                 parameters x bytes: all stay resident
         + max over members of activations             they run one after another
         + largest batch x IMAGE_MB                    decoded images and their shared views

    weights     = parameters_m x bytes(adapter, precision): 2 where the weights are kept in half
                  precision, else 4 (autocast casts one layer at a time)
    activations = batch_size x MiB for one image

Memory is what the process holds of the GPU, as `nvidia-smi` shows it. PyTorch's allocator keeps
blocks that nobody uses, 10 to 70 % more than tensors take at their peak: that is counted, though
most of it would be given back where memory runs short.

Where a member's `memory_mb` is given, as measured at its batch size, what is left of it after the
weights are its activations. Else they are estimated from its `gflops` with `_MB_PER_GFLOP`.
A language model is its server's: weights, `_SERVER_MB` (its own CUDA context among it) and a cache
of attention keys.

**Time** = images x gflops / effective TFLOP/s of the adapter's family, a small share of the peak,
as measured on an H100 in bf16, eager, of `forward` alone; other GPUs in proportion to their peaks.
It leaves out reading, resizing, decoding, writing and idling: a lower bound, good to 2x, less where
many masks are enlarged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cascade import registry
from cascade.checkpoints.licenses import LicenseKind
from cascade.errors import ManifestError
from cascade.manifest import PATHS, Manifest, Member

Mode = Literal["full", "routed"]

# Measured on an H100 with CUDA 13: 620 when it begins, 695 to 700 once a member has run.
CONTEXT_MB = 700.0
IMAGE_MB = 3.0  # 1280 x 720 x 3 bytes, and a uint8 view that members share
_SERVER_MB = 3072.0  # CUDA graphs, sampler and vision profile of vLLM
_CACHE_MB = 8192.0  # attention keys and values of some 64 questions in flight

ASSUMED_SHARES: Mapping[str, float] = {"fast_a": 0.10, "fast_b": 0.10, "precision": 0.30}
"""The share of samples on each path of the cascade, until a run has measured it."""

# Activations, in MiB for each GFLOP of an image, measured (see the manifest `roadwork`):
# transformers need little, since they are deep and of one width; what keeps feature pyramids,
# attends in windows or enlarges its maps needs much. Sizes of a family differ by up to 3x (Depth
# Anything 2: L 0.38, S 1.28), which is why members state their own.
_MB_PER_GFLOP = {
    "dino": 0.07, "siglip": 0.06, "timm": 0.07, "owlv2": 0.06, "sam2": 0.29, "sam3": 0.05,
    "depth_anything_2": 0.80, "depth_anything_3": 0.08, "detr": 1.10, "grounding_dino": 1.60,
    "rf_detr_seg": 1.80, "ultralytics": 0.70, "yoloe": 0.60,
}  # fmt: skip
_MB_PER_GFLOP_OF_OTHERS = 1.0

# Effective TFLOP/s of one H100: a family's mean over the manifest `roadwork`'s members at their
# batch sizes, measured. timm is taken for dino's twin; the servers' is an estimate.
_TFLOPS = {
    "dino": 270.0, "siglip": 260.0, "timm": 270.0, "depth_anything_2": 245.0,
    "depth_anything_3": 35.0, "detr": 48.0, "rf_detr_seg": 48.0, "grounding_dino": 36.0,
    "owlv2": 340.0, "ultralytics": 130.0, "yoloe": 155.0, "sam2": 108.0, "sam3": 67.0,
    "vision_language": 200.0,
}  # fmt: skip
_TFLOPS_OF_OTHERS = 50.0
_FP32 = 0.55  # of the speed in half precision (DINOv3-L: 1,068 of 1,968 images/s)

# Dense bf16 (fp16 where older) peak in TFLOP/s, from the makers' data sheets.
_PEAKS = {
    "B200": 2250.0, "H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0,
    "A10": 125.0, "A6000": 155.0, "4090": 165.0, "3090": 71.0, "T4": 65.0, "V100": 125.0,
}  # fmt: skip


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        name: As its maker calls it.
        memory_mb: In MiB.
    """

    name: str
    memory_mb: float

    @property
    def speed(self) -> float | None:
        """Its peak relative to an H100's; None where the name is not known."""
        words = self.name.upper().replace("-", " ").split()
        for known, peak in _PEAKS.items():
            if any(word in (known, f"RTX{known}") for word in words):
                return peak / _PEAKS["H100"]
        return None


def local_gpus() -> list[Gpu]:
    """Return the CUDA GPUs of this machine, in the order of their indices."""
    import torch

    properties = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [Gpu(gpu.name, gpu.total_memory / 2**20) for gpu in properties]


@dataclass(frozen=True)
class Need:
    """What one member takes on a GPU.

    Attributes:
        weights_mb: Its parameters.
        activations_mb: For one image.
        fixed_mb: What its own server takes besides; 0 in our process.
        is_measured: Whether the activations are, rather than estimated.
    """

    weights_mb: float
    activations_mb: float
    fixed_mb: float = 0.0
    is_measured: bool = False

    def total_mb(self, batch_size: int) -> float:
        """Return all of it at a batch size."""
        return self.weights_mb + self.fixed_mb + batch_size * self.activations_mb


@dataclass(frozen=True)
class Share:
    """What one member does in a run.

    Attributes:
        member: Its name.
        need: Its memory.
        images: How many it looks at.
        batch_size: At a time; less than the manifest's where that does not fit.
        gpu: Index of its GPU; None where it needs none, or fits on none.
        seconds: Of that GPU's time; None where its cost or the GPU's speed is not known.
        advice: What to do, where something does not fit.
    """

    member: str
    need: Need
    images: int
    batch_size: int
    gpu: int | None = None
    seconds: float | None = None
    advice: str = ""

    @property
    def fits(self) -> bool:
        """Whether there is a GPU for it, or it needs none."""
        return self.gpu is not None or not self.need.weights_mb


@dataclass(frozen=True)
class Load:
    """What one GPU carries.

    Attributes:
        gpu: Which.
        members: On it, in the manifest's order.
        memory_mb: In use at its peak.
        seconds: Of work, as far as members state their cost; None where its speed is not known.
    """

    gpu: Gpu
    members: tuple[str, ...]
    memory_mb: float
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """Who runs where, and what it costs.

    Attributes:
        shares: Of every member that takes part, in the manifest's order.
        loads: Of every GPU.
        left_out: Members that their licence keeps out, with the reason.
        unknown: Members whose parameters or operations the manifest does not state.
    """

    shares: tuple[Share, ...]
    loads: tuple[Load, ...]
    left_out: Mapping[str, str]
    unknown: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Until the GPU with the most work is done; None where a GPU's speed is not known."""
        each = [load.seconds for load in self.loads]
        known = [one for one in each if one is not None]
        return max(known) if known and len(known) == len(each) else None

    @property
    def unplaced(self) -> tuple[str, ...]:
        """The members that fit on no GPU."""
        return tuple(one.member for one in self.shares if not one.fits)


def need_of(member: Member) -> Need:
    """Return the memory of one member, measured where the manifest says so."""
    if not member.parameters_m and member.memory_mb is None:
        return Need(0.0, 0.0, is_measured=member.parameters_m == 0)
    weights = (member.parameters_m or 0.0) * 1e6 * _bytes_a_parameter(member) / 2**20
    if member.tier == "language":
        fixed = _SERVER_MB + _CACHE_MB
        if member.memory_mb is not None:
            fixed = max(member.memory_mb - weights, 0.0)
        return Need(weights, 0.0, fixed, is_measured=member.memory_mb is not None)
    if member.memory_mb is None:
        a_gflop = _MB_PER_GFLOP.get(member.adapter, _MB_PER_GFLOP_OF_OTHERS)
        return Need(weights, (member.gflops or 0.0) * a_gflop)
    activations = max(member.memory_mb - weights, 0.0) / member.batch_size
    return Need(min(weights, member.memory_mb), activations, is_measured=True)


def images_of(
    member: Member, manifest: Manifest, images: int, mode: Mode, shares: Mapping[str, float]
) -> int:
    """Return how many images a member looks at.

    In `full` mode all. In `routed` mode the first two tiers see all, geometry and segmentation
    what takes the precision path, a language member what takes a path that names it.
    """
    if mode == "full" or member.tier in ("embedding", "detection"):
        return images
    paths = ["precision"]
    if member.tier == "language":
        paths = [path for path in PATHS if member.name in getattr(manifest.routing, path)]
    return math.ceil(round(images * sum(shares[path] for path in paths), 6))


def seconds_of(member: Member, images: int, gpu: Gpu) -> float | None:
    """Return the GPU's time for that many images; None where the cost or speed is not known."""
    if member.gflops is None or gpu.speed is None:
        return None
    effective = _TFLOPS.get(member.adapter, _TFLOPS_OF_OTHERS) * gpu.speed
    effective *= _FP32 if member.precision == "fp32" else 1.0
    return images * member.gflops / (effective * 1000)


def plan(
    manifest: Manifest,
    images: int,
    gpus: Sequence[Gpu],
    *,
    mode: Mode = "full",
    shares: Mapping[str, float] = ASSUMED_SHARES,
    licence: LicenseKind | None = None,
) -> Plan:
    """Return who runs where, and what it costs.

    Members are placed one by one, the dearest first, each on the GPU that would be done first
    among those that it fits on; one that fits nowhere is tried in smaller batches. Once servers go
    first, the largest first, once members that are not optional: the better outcome is the plan,
    that which keeps more members that are needed, then more at all, then is done earlier.

    Args:
        manifest: The ensemble.
        images: How many.
        gpus: What there is.
        mode: Whether the deeper tiers see every image.
        shares: In `routed` mode, the share of images on each of `manifest.PATHS`.
        licence: The strictest kind that members may have; None for any.

    Raises:
        ManifestError: A member that is not optional has a stricter licence, or a share is none.
    """
    for path in PATHS:
        if not 0 <= shares.get(path, -1) <= 1:
            raise ManifestError(f"The share of {path!r} must lie in [0, 1], got {shares}.")
    left_out = manifest.excluded_by_license(licence)
    members = [one for one in manifest.members if one.name not in left_out]
    waiting = [
        Share(one.name, need_of(one), seen, one.batch_size)
        for one in members
        for seen in [images_of(one, manifest, images, mode, shares)]
    ]
    orders: tuple[Literal["servers", "needed"], ...] = ("servers", "needed")
    tried = [
        _placed([(manifest.member(one.member), one) for one in waiting], gpus, order)
        for order in orders
    ]
    best = min(tried, key=lambda shares: _shortfall(manifest, shares))
    loads = tuple(_load(i, gpu, best) for i, gpu in enumerate(gpus))
    unknown = [one.name for one in members if one.parameters_m is None or one.gflops is None]
    return Plan(best, loads, left_out, tuple(unknown))


def _placed(
    waiting: Sequence[tuple[Member, Share]],
    gpus: Sequence[Gpu],
    first: Literal["servers", "needed"],
) -> tuple[Share, ...]:
    """Return every share with its GPU, in the order of `waiting`; see `plan`."""

    def rank(one: tuple[Member, Share]) -> tuple[bool, bool, float, str]:
        member, share = one
        is_server = member.tier == "language"
        size = share.need.total_mb(1) if is_server else share.images * (member.gflops or 0.0)
        classes = (not is_server, member.optional)
        return (*(classes if first == "servers" else classes[::-1]), -size, member.name)

    placed: dict[str, Share] = {}
    for member, share in sorted(waiting, key=rank):
        placed[member.name] = _place(member, share, placed, gpus)
    return tuple(placed[member.name] for member, _ in waiting)


def _shortfall(manifest: Manifest, shares: Sequence[Share]) -> tuple[float, ...]:
    """Return how far a placement is from all that is wanted; less is better."""
    lost = [one for one in shares if not one.fits]
    needed = [one for one in lost if not manifest.member(one.member).optional]
    busy: dict[int, float] = {}
    for one in shares:
        if one.gpu is not None:
            busy[one.gpu] = busy.get(one.gpu, 0.0) + (one.seconds or 0.0)
    return (len(needed), len(lost), max(busy.values(), default=0.0))


def _bytes_a_parameter(member: Member) -> int:
    is_half = registry.get(member.adapter).half_weights or member.tier == "language"
    return 2 if is_half and member.precision != "fp32" else 4


def _place(member: Member, share: Share, placed: Mapping[str, Share], gpus: Sequence[Gpu]) -> Share:
    if not share.need.weights_mb:
        return replace(share, seconds=None if member.gflops is None else 0.0)
    batch_size = share.batch_size
    while batch_size:
        options = [
            replace(
                share, gpu=i, batch_size=batch_size, seconds=seconds_of(member, share.images, gpu)
            )
            for i, gpu in enumerate(gpus)
            if gpu.memory_mb >= memory_mb((*_on(i, placed), replace(share, batch_size=batch_size)))
        ]
        if options:
            best = min(options, key=lambda one: _done(one, placed))
            return replace(best, advice=_advice(member, share, best, gpus))
        batch_size //= 2
    alone = memory_mb((replace(share, batch_size=1),))
    return replace(share, advice=f"leave it out, or add a GPU of {math.ceil(alone / 1024)} GB")


def _advice(member: Member, wanted: Share, placed: Share, gpus: Sequence[Gpu]) -> str:
    if member.tier == "language" and placed.gpu is not None:
        part = (placed.need.weights_mb + placed.need.fixed_mb) / gpus[placed.gpu].memory_mb
        return f"its server needs {math.ceil(part * 100) / 100:g} of the GPU"
    if placed.batch_size < wanted.batch_size:
        return f"batch_size {placed.batch_size} instead of {wanted.batch_size}"
    return ""


def _on(gpu: int, placed: Mapping[str, Share]) -> tuple[Share, ...]:
    return tuple(one for one in placed.values() if one.gpu == gpu)


def memory_mb(shares: Sequence[Share]) -> float:
    """Return what a GPU with these members carries at its peak; see the module."""
    if not shares:
        return 0.0
    resident = sum(one.need.weights_mb + one.need.fixed_mb for one in shares)
    ours = [one for one in shares if not one.need.fixed_mb]
    activations = max((one.batch_size * one.need.activations_mb for one in ours), default=0.0)
    images = max((one.batch_size for one in ours), default=0) * IMAGE_MB
    return (CONTEXT_MB if ours else 0.0) + resident + activations + images


def _done(share: Share, placed: Mapping[str, Share]) -> float:
    """Return when the GPU of a share would be done with all that it has."""
    return sum(one.seconds or 0.0 for one in (*_on(share.gpu or 0, placed), share))


def _load(index: int, gpu: Gpu, shares: Sequence[Share]) -> Load:
    here = [one for one in shares if one.gpu == index]
    return Load(
        gpu=gpu,
        members=tuple(one.member for one in here),
        memory_mb=memory_mb(here),
        seconds=None if gpu.speed is None else sum(one.seconds or 0.0 for one in here),
    )
