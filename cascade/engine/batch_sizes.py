"""Fastest batch size of a member on a GPU: measured once, then cached.

Sizes double from the manifest's for as long as throughput rises. Results are cached by GPU,
member and PyTorch version in a small file; delete it to measure again.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from cascade.engine.member_runner import Runner
from cascade.imaging.batches import Batch, Image
from cascade.manifest import Member
from cascade.runtime.atomic_files import atomic_write_text

logger = logging.getLogger(__name__)

MAX_SIZE = 128  # images; no member was seen to gain beyond it
_GAIN = 1.04  # smaller gains are within the noise
_TIMED = 3  # calls, after one that warms up


@dataclass(frozen=True)
class BatchSizeCache:
    """Batch sizes measured earlier.

    Attributes:
        file: A JSON object, `{key: size}`; absent at first.
    """

    file: Path

    def get(self, key: str) -> int | None:
        """Return the size; None if it is unknown or the file is damaged."""
        return self._read().get(key)

    def put(self, key: str, size: int) -> None:
        """Store a size; a read-only folder only costs another measurement next time."""
        text = json.dumps({**self._read(), key: size}, indent=1, sort_keys=True)
        try:
            atomic_write_text(self.file, text)
        except OSError as error:
            logger.warning("Cannot store the batch size of %s: %s", key, error)

    def _read(self) -> dict[str, int]:
        try:
            content = json.loads(self.file.read_text())
        except (OSError, ValueError):
            return {}
        items = content.items() if isinstance(content, dict) else ()
        return {key: size for key, size in items if isinstance(size, int) and size > 0}


def user_cache() -> BatchSizeCache:
    """Return the cache of this user on this machine."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return BatchSizeCache(cache / "cascade-curation" / "batch_sizes.json")


def cache_key(member: Member, device: torch.device) -> str:
    """Return the cache key of a member on a device."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    parts = [member.adapter, member.source, member.revision, member.precision, member.params]
    return json.dumps([gpu, torch.__version__, *parts], sort_keys=True, default=str)


def fastest(
    rate: Callable[[int], float], start: int, *, max_size: int = MAX_SIZE, gain: float = _GAIN
) -> int:
    """Return the size from which doubling no longer pays.

    Args:
        rate: Images per second at a size; raises `torch.OutOfMemoryError` when memory is short.
        start: First and smallest size.
        max_size: Largest size to try.
        gain: Factor by which a doubled size must be faster.
    """
    size, best_rate = start, 0.0
    while True:
        try:
            measured = rate(size)
        except torch.OutOfMemoryError:
            return max(size // 2, start)
        if measured < best_rate * gain:
            return size // 2
        if size * 2 > max_size:
            return size
        size, best_rate = size * 2, measured


def throughput(runner: Runner, image: Image) -> Callable[[int], float]:
    """Return a function that measures a runner's forward passes on copies of an image."""

    def rate(size: int) -> float:
        batch = Batch(tuple(map(str, range(size))), (image,) * size, runner.device)
        batch.pixels()
        runner.size = size
        torch.cuda.empty_cache()
        for call in range(_TIMED + 1):
            if call == 1:
                torch.cuda.synchronize(runner.device)
                start = time.perf_counter()
            for launched in runner.launch(batch):
                if launched.error:
                    raise launched.error
        torch.cuda.synchronize(runner.device)
        if runner.size < size:
            raise torch.OutOfMemoryError("The batch was halved.")
        return size * _TIMED / (time.perf_counter() - start)

    return rate
