"""The most that a GPU allows: members compiled, each alone, with data already on the device."""

from __future__ import annotations

import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from engine_members import HEIGHT, WIDTH, ensemble_in
from pictures import drawn

from cascade.engine.member_runner import Runner, autocast, set_matmul_precision
from cascade.imaging.batches import Batch
from cascade.runtime.devices import default_device

logger = logging.getLogger("bench_engine")

TIMED_S = 1.5
SIZES = {"dinov3_l": 128, "depth_anything_2_l": 32}  # the best on an H100, by earlier trials
OTHER_SIZES = 64


def prepared(model: Any, size: int, device: torch.device) -> Any:
    """Return a member's inputs for `size` images, on the device."""
    pictures = drawn([(HEIGHT, WIDTH)] * min(size, 4))
    images = tuple(pictures[i % len(pictures)] for i in range(size))
    with torch.inference_mode():
        return model.prepare(Batch(tuple(map(str, range(size))), images, device))


def rate(work: Callable[[], Any], images: int, device: torch.device) -> float:
    """Return images a second of `work`, warm: the median of five timings."""
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    for _ in range(2):
        work()
    wait()
    began = time.perf_counter()
    work()
    wait()
    calls = max(1, round(TIMED_S / 5 / (time.perf_counter() - began)))
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(calls):
            work()
        wait()
        taken.append((time.perf_counter() - began) / calls)
    return images / statistics.median(taken)


def forward_rates(
    runner: Runner, device: torch.device, asked: Sequence[int] | None = None
) -> dict[int, float]:
    """Return images a second of a runner's `forward` alone, by batch size."""
    found = {}
    best = SIZES.get(runner.member.name, OTHER_SIZES)
    for size in (best,) if asked is None else asked:
        tensors = prepared(runner.model, size, device)
        set_matmul_precision(runner.member, device)
        with torch.inference_mode(), autocast(runner.member, device):
            found[size] = rate(lambda given=tensors: runner._forward(given), size, device)
        logger.info("%s: %d at a time, %.1f images/s", runner.member.name, size, found[size])
    return found


def warm(folder: Path, name: str) -> None:
    """Compile one member into the cache that processes share."""
    ensemble, device = ensemble_in(folder), default_device()
    model = ensemble.build(name, device)
    runner = Runner(model, ensemble.manifest.member(name), device, compiled=True)
    set_matmul_precision(runner.member, device)
    with torch.inference_mode(), autocast(runner.member, device):
        runner._forward(prepared(model, SIZES.get(name, OTHER_SIZES), device))
    torch.cuda.synchronize()


def warm_all(folder: Path, names: Sequence[str]) -> float:
    """Compile every member, side by side, and return the seconds."""
    began = time.perf_counter()
    threads = max(1, (os.cpu_count() or 1) // len(names))  # each would take all cores
    told = {**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": str(threads)}
    children = [
        subprocess.Popen(
            [
                sys.executable,
                Path(__file__).with_name("bench_engine.py"),
                "--warm",
                name,
                "--weights",
                str(folder),
            ],
            stdout=subprocess.DEVNULL,
            env=told,
        )
        for name in names
    ]
    for one in children:
        one.wait()
    return time.perf_counter() - began
