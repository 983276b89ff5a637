"""How many images at a time a member runs best with on a GPU: tried once, then remembered.

Sizes are doubled from the manifest's as long as that pays. What was found is kept in a small
file beside other caches, by GPU, member and version of PyTorch; delete it to have sizes tried anew.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cascade.imaging.batches import Batch, Image
from cascade.manifest import Member
from cascade.runtime.atomic_files import replace_text

logger = logging.getLogger(__name__)

MOST = 128  # images: beyond, no member was seen to gain
_GAIN = 1.04  # in images a second: less is within the noise
_TIMED = 3  # calls, after one that warms up


@dataclass(frozen=True)
class Remembered:
    """Batch sizes that were found before.

    Attributes:
        file: A JSON object, `{key: size}`; absent before the first.
    """

    file: Path

    def get(self, key: str) -> int | None:
        """Return the size, None where none is known: also where the file is damaged."""
        return self._all().get(key)

    def put(self, key: str, size: int) -> None:
        """Keep a size; where the folder cannot be written to, it is found anew next time."""
        sizes = json.dumps({**self._all(), key: size}, indent=1, sort_keys=True)
        try:
            replace_text(self.file, sizes)
        except OSError as error:
            logger.warning("The batch size of %s could not be kept: %s", key, error)

    def _all(self) -> dict[str, int]:
        try:
            content = json.loads(self.file.read_text())
        except (OSError, ValueError):
            return {}
        known = content.items() if isinstance(content, dict) else ()
        return {key: one for key, one in known if isinstance(one, int) and one > 0}


def default() -> Remembered:
    """Return what is remembered for this user on this machine."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Remembered(cache / "cascade-curation" / "batch_sizes.json")


def key_of(member: Member, device: torch.device) -> str:
    """Return what a batch size holds for."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    what = [member.adapter, member.source, member.revision, member.precision, member.params]
    return json.dumps([gpu, torch.__version__, *what], sort_keys=True, default=str)


def best(rate: Callable[[int], float], start: int, *, most: int = MOST, gain: float = _GAIN) -> int:
    """Return the size from which doubling no longer pays.

    Args:
        rate: Images a second at a size; raises `torch.OutOfMemoryError` where memory is short.
        start: The first size; the smallest that is returned.
        most: The largest that is tried.
        gain: By what factor a doubled size must be quicker.
    """
    size, reached = start, 0.0
    while True:
        try:
            found = rate(size)
        except torch.OutOfMemoryError:
            return max(size // 2, start)
        if found < reached * gain:
            return size // 2
        if size * 2 > most:
            return size
        size, reached = size * 2, found


def rate_of(runner: Any, image: Image) -> Callable[[int], float]:
    """Return what measures a runner's forward pass on copies of an image, without unpacking."""

    def rate(size: int) -> float:
        batch = Batch(tuple(map(str, range(size))), (image,) * size, runner.device)
        batch.pixels()
        runner.size = size
        torch.cuda.empty_cache()
        for call in range(_TIMED + 1):
            if call == 1:
                torch.cuda.synchronize(runner.device)
                began = time.perf_counter()
            for one in runner.launch(batch):
                if one.error:
                    raise one.error
        torch.cuda.synchronize(runner.device)
        if runner.size < size:
            raise torch.OutOfMemoryError("The batch was halved.")
        return size * _TIMED / (time.perf_counter() - began)

    return rate
