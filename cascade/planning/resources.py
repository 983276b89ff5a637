"""Memory, GPUs and time that a manifest needs, estimated without building any model.

**Memory**, in MiB, of one process on one GPU:

    need = CONTEXT_MB                           CUDA context, before the first tensor
         + sum over members of weights          parameters x bytes; all stay resident
         + max over members of activations      members run one after another
         + largest batch x IMAGE_MB             decoded images and their shared views

    weights     = parameters_m x bytes(adapter, precision): 2 if the weights are stored in half
                  precision, else 4 (autocast casts one layer at a time)
    activations = batch_size x MiB per image

Memory is the process's GPU memory as shown by `nvidia-smi`. It includes the unused blocks that
PyTorch's allocator retains, 10 to 70 % above the peak of the tensors, although most of them are
released when memory runs short.

If a member states `memory_mb`, measured at its batch size, its activations are `memory_mb` minus
the weights. Otherwise they are estimated from its `gflops` with `_MB_PER_GFLOP`. A language model
runs in its server: weights, `_SERVER_MB` (with the server's CUDA context) and a cache of attention
keys.

**Time** = images x gflops / effective TFLOP/s of the adapter's family, measured for `forward` on
an H100 in bf16 without compilation; other GPUs in proportion to their peaks. Reading, resizing,
decoding, writing and idle time are excluded, so this is a lower bound, accurate to a factor of 2,
and less accurate when many masks are enlarged.
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

# Measured on an H100 with CUDA 13: 620 at first, 695 to 700 once a member has run.
CONTEXT_MB = 700.0
IMAGE_MB = 3.0  # 1280 x 720 x 3 bytes, and a uint8 view that members share
_SERVER_MB = 3072.0  # CUDA graphs, sampler and vision profile of vLLM
_CACHE_MB = 8192.0  # attention keys and values of about 64 questions in flight

ASSUMED_SHARES: Mapping[str, float] = {"fast_a": 0.10, "fast_b": 0.10, "precision": 0.30}
"""Assumed share of samples on each path of the cascade, until a run has measured it."""

# Measured activations in MiB per GFLOP of an image (see the manifest `roadwork`). Transformers,
# deep and of uniform width, need little; feature pyramids, windowed attention and upsampled maps
# need much. Sizes of one family differ by up to 3x (Depth Anything 2: L 0.38, S 1.28), so members
# state their own memory.
_MB_PER_GFLOP = {
    "dino": 0.07, "siglip": 0.06, "timm": 0.07, "owlv2": 0.06, "sam2": 0.29, "sam3": 0.05,
    "depth_anything_2": 0.80, "depth_anything_3": 0.08, "detr": 1.10, "grounding_dino": 1.60,
    "rf_detr_seg": 1.80, "ultralytics": 0.70, "yoloe": 0.60,
}  # fmt: skip
_MB_PER_GFLOP_OF_OTHERS = 1.0

# Measured effective TFLOP/s of one H100: mean over a family's members in the manifest `roadwork`
# at their batch sizes. timm is assumed to equal dino; the value of the servers is an estimate.
_TFLOPS = {
    "dino": 270.0, "siglip": 260.0, "timm": 270.0, "depth_anything_2": 245.0,
    "depth_anything_3": 35.0, "detr": 48.0, "rf_detr_seg": 48.0, "grounding_dino": 36.0,
    "owlv2": 340.0, "ultralytics": 130.0, "yoloe": 155.0, "sam2": 108.0, "sam3": 67.0,
    "vision_language": 200.0,
}  # fmt: skip
_TFLOPS_OF_OTHERS = 50.0
_FP32 = 0.55  # relative to half precision (DINOv3-L: 1,068 against 1,968 images/s)

# Dense bf16 peak (fp16 for older GPUs) in TFLOP/s, from data sheets.
_PEAKS = {
    "B200": 2250.0, "H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0,
    "A10": 125.0, "A6000": 155.0, "4090": 165.0, "3090": 71.0, "T4": 65.0, "V100": 125.0,
}  # fmt: skip


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    Attributes:
        name: Product name.
        memory_mb: Memory in MiB.
    """

    name: str
    memory_mb: float

    @property
    def speed(self) -> float | None:
        """Peak throughput relative to an H100; None for an unknown product."""
        words = self.name.upper().replace("-", " ").split()
        for product, peak in _PEAKS.items():
            if any(word in (product, f"RTX{product}") for word in words):
                return peak / _PEAKS["H100"]
        return None


def local_gpus() -> list[Gpu]:
    """Return the CUDA GPUs of this machine, in the order of their indices."""
    import torch

    properties = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [Gpu(gpu.name, gpu.total_memory / 2**20) for gpu in properties]


@dataclass(frozen=True)
class MemoryNeed:
    """Memory of one member on a GPU, in MiB.

    Attributes:
        weights_mb: Parameters.
        activations_mb: Activations per image.
        fixed_mb: Overhead of the member's server; 0 for members in this process.
        is_measured: Whether the activations are measured rather than estimated.
    """

    weights_mb: float
    activations_mb: float
    fixed_mb: float = 0.0
    is_measured: bool = False

    def total_mb(self, batch_size: int) -> float:
        """Return the total at a batch size."""
        return self.weights_mb + self.fixed_mb + batch_size * self.activations_mb


@dataclass(frozen=True)
class Share:
    """One member's part of a run.

    Attributes:
        member: Name of the member.
        need: Memory of the member.
        images: Number of images processed.
        batch_size: Batch size; smaller than the manifest's if that does not fit.
        gpu: Index of the GPU; None if the member needs none or fits on none.
        seconds: GPU time; None if the member's cost or the GPU's speed is unknown.
        advice: Suggestion if the member does not fit unchanged.
    """

    member: str
    need: MemoryNeed
    images: int
    batch_size: int
    gpu: int | None = None
    seconds: float | None = None
    advice: str = ""

    @property
    def fits(self) -> bool:
        """Whether the member has a GPU or needs none."""
        return self.gpu is not None or not self.need.weights_mb


@dataclass(frozen=True)
class Load:
    """Work and memory of one GPU.

    Attributes:
        gpu: The GPU.
        members: Names of its members, in the manifest's order.
        memory_mb: Peak memory in MiB.
        seconds: GPU time of the members with a known cost; None if the GPU's speed is unknown.
    """

    gpu: Gpu
    members: tuple[str, ...]
    memory_mb: float
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """Assignment of members to GPUs, with its cost.

    Attributes:
        shares: Part of each participating member, in the manifest's order.
        loads: Load of each GPU.
        left_out: Members excluded by their license, with the reason.
        unknown: Members without stated parameters or operations.
    """

    shares: tuple[Share, ...]
    loads: tuple[Load, ...]
    left_out: Mapping[str, str]
    unknown: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Time until the busiest GPU is done; None if there are no GPUs or a speed is unknown."""
        seconds = [load.seconds for load in self.loads if load.seconds is not None]
        return max(seconds) if seconds and len(seconds) == len(self.loads) else None

    @property
    def unplaced(self) -> tuple[str, ...]:
        """The members that fit on no GPU."""
        return tuple(share.member for share in self.shares if not share.fits)


def memory_need(member: Member) -> MemoryNeed:
    """Return the memory of one member, measured or estimated."""
    if not member.parameters_m and member.memory_mb is None:
        return MemoryNeed(0.0, 0.0, is_measured=member.parameters_m == 0)
    weights = (member.parameters_m or 0.0) * 1e6 * _bytes_per_parameter(member) / 2**20
    if member.tier == "language":
        fixed = _SERVER_MB + _CACHE_MB
        if member.memory_mb is not None:
            fixed = max(member.memory_mb - weights, 0.0)
        return MemoryNeed(weights, 0.0, fixed, is_measured=member.memory_mb is not None)
    if member.memory_mb is None:
        per_gflop = _MB_PER_GFLOP.get(member.adapter, _MB_PER_GFLOP_OF_OTHERS)
        return MemoryNeed(weights, (member.gflops or 0.0) * per_gflop)
    activations = max(member.memory_mb - weights, 0.0) / member.batch_size
    return MemoryNeed(min(weights, member.memory_mb), activations, is_measured=True)


def images_of(
    member: Member, manifest: Manifest, images: int, mode: Mode, shares: Mapping[str, float]
) -> int:
    """Return how many images a member processes.

    In `full` mode, all of them. In `routed` mode, embedding and detection process all images,
    geometry and segmentation those on the precision path, and a language member those on the
    paths that name it.
    """
    if mode == "full" or member.tier in ("embedding", "detection"):
        return images
    paths = ["precision"]
    if member.tier == "language":
        paths = [path for path in PATHS if member.name in getattr(manifest.routing, path)]
    return math.ceil(round(images * sum(shares[path] for path in paths), 6))


def seconds_of(member: Member, images: int, gpu: Gpu) -> float | None:
    """Return the GPU time for a number of images; None if the cost or speed is unknown."""
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
    strictest_license: LicenseKind | None = None,
) -> Plan:
    """Assign members to GPUs and estimate the cost.

    Members are placed greedily, the most expensive first, each on the GPU that would finish
    first among those with enough memory; a member that fits nowhere is tried with smaller
    batches. Two orders are tried, servers first and required members first. The better result
    leaves out fewer required members, then fewer members, then finishes earlier.

    Args:
        manifest: The ensemble.
        images: Number of images.
        gpus: The available GPUs.
        mode: `full` if the deep tiers process every image, else `routed`.
        shares: Share of images on each of `manifest.PATHS` in `routed` mode.
        strictest_license: Strictest license kind of the members; None for any.

    Raises:
        ManifestError: A required member has a stricter license, or a share is out of range.
    """
    for path in PATHS:
        if not 0 <= shares.get(path, -1) <= 1:
            raise ManifestError(f"The share of {path!r} must be in [0, 1], got {shares}.")
    left_out = manifest.excluded_by_license(strictest_license)
    members = [member for member in manifest.members if member.name not in left_out]
    candidates = [
        (
            member,
            Share(
                member.name,
                memory_need(member),
                images_of(member, manifest, images, mode, shares),
                member.batch_size,
            ),
        )
        for member in members
    ]
    placements = [
        _place_all(candidates, gpus, servers_first=servers_first) for servers_first in (True, False)
    ]
    best = min(placements, key=lambda shares: _penalty(manifest, shares))
    return Plan(
        shares=best,
        loads=tuple(_load(i, gpu, best) for i, gpu in enumerate(gpus)),
        left_out=left_out,
        unknown=tuple(m.name for m in members if m.parameters_m is None or m.gflops is None),
    )


def _place_all(
    candidates: Sequence[tuple[Member, Share]], gpus: Sequence[Gpu], *, servers_first: bool
) -> tuple[Share, ...]:
    """Return every share with its GPU, in the order of `candidates`; see `plan`."""

    def rank(candidate: tuple[Member, Share]) -> tuple[bool, bool, float, str]:
        member, share = candidate
        is_server = member.tier == "language"
        cost = share.need.total_mb(1) if is_server else share.images * (member.gflops or 0.0)
        keys = (not is_server, member.optional)
        return (*(keys if servers_first else keys[::-1]), -cost, member.name)

    placed: dict[str, Share] = {}
    for member, share in sorted(candidates, key=rank):
        placed[member.name] = _place(member, share, placed, gpus)
    return tuple(placed[member.name] for member, _ in candidates)


def _penalty(manifest: Manifest, shares: Sequence[Share]) -> tuple[float, ...]:
    """Return the unplaced required members, the unplaced members, and the time; less is better."""
    unplaced = [share for share in shares if not share.fits]
    required = [share for share in unplaced if not manifest.member(share.member).optional]
    busy: dict[int, float] = {}
    for share in shares:
        if share.gpu is not None:
            busy[share.gpu] = busy.get(share.gpu, 0.0) + (share.seconds or 0.0)
    return (len(required), len(unplaced), max(busy.values(), default=0.0))


def _bytes_per_parameter(member: Member) -> int:
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
            best = min(options, key=lambda option: _finish_seconds(option, placed))
            return replace(best, advice=_advice(member, share, best, gpus))
        batch_size //= 2
    alone = memory_mb((replace(share, batch_size=1),))
    return replace(share, advice=f"remove it, or add a GPU with {math.ceil(alone / 1024)} GB")


def _advice(member: Member, wanted: Share, placed: Share, gpus: Sequence[Gpu]) -> str:
    if member.tier == "language" and placed.gpu is not None:
        part = (placed.need.weights_mb + placed.need.fixed_mb) / gpus[placed.gpu].memory_mb
        return f"its server needs {math.ceil(part * 100) / 100:g} of the GPU's memory"
    if placed.batch_size < wanted.batch_size:
        return f"batch_size {placed.batch_size} instead of {wanted.batch_size}"
    return ""


def _on(gpu: int, placed: Mapping[str, Share]) -> tuple[Share, ...]:
    return tuple(share for share in placed.values() if share.gpu == gpu)


def memory_mb(shares: Sequence[Share]) -> float:
    """Return the peak memory of a GPU with these members; see the module docstring."""
    if not shares:
        return 0.0
    resident = sum(share.need.weights_mb + share.need.fixed_mb for share in shares)
    local = [share for share in shares if not share.need.fixed_mb]  # members without a server
    activations = max((s.batch_size * s.need.activations_mb for s in local), default=0.0)
    images = max((share.batch_size for share in local), default=0) * IMAGE_MB
    return (CONTEXT_MB if local else 0.0) + resident + activations + images


def _finish_seconds(share: Share, placed: Mapping[str, Share]) -> float:
    """Return the total time of a share's GPU, with the share added."""
    return sum(other.seconds or 0.0 for other in (*_on(share.gpu or 0, placed), share))


def _load(index: int, gpu: Gpu, shares: Sequence[Share]) -> Load:
    assigned = [share for share in shares if share.gpu == index]
    return Load(
        gpu=gpu,
        members=tuple(share.member for share in assigned),
        memory_mb=memory_mb(assigned),
        seconds=None if gpu.speed is None else sum(share.seconds or 0.0 for share in assigned),
    )
