"""Images through the engine, with what takes the time."""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from engine_sinks import Nowhere

from cascade.engine import loader, pipeline
from cascade.engine import run as engine
from cascade.engine.member_runner import Runner
from cascade.engine.pipeline import Work
from cascade.ensemble import Ensemble
from cascade.imaging.batches import Group

logger = logging.getLogger("bench_engine")


@dataclass
class Bench:
    """What the parts of the benchmark share."""

    ensemble: Ensemble
    runners: dict[str, Runner]
    paths: list[Path]
    device: torch.device
    report: dict[str, Any]
    out: Path

    def save(self) -> None:
        """Write what is known so far."""
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "engine.json").write_text(json.dumps(self.report, indent=1))

    @property
    def size(self) -> int:
        """Images of a batch that members share."""
        return max(one.size for one in self.runners.values())

    def run(self, sink: Any, ids: Sequence[str], *, names: Sequence[str] | None = None) -> float:
        """Take images through the engine and return the seconds."""
        runners = {n: one for n, one in self.runners.items() if names is None or n in names}
        for one in runners.values():
            one.seconds, one.seen = 0.0, 0
        groups = [
            Group(ids[i : i + self.size], self.paths[: len(ids)][i : i + self.size])
            for i in range(0, len(ids), self.size)
        ]
        began = time.perf_counter()
        tally = pipeline.run(
            runners, groups, sink, Work(), device=self.device,
            batches_a_write=engine.BATCHES_A_WRITE // 2,
            pace=engine.pace_for(self.device, self.size),
        )  # fmt: skip
        seconds = time.perf_counter() - began
        if tally.failed:
            logger.warning("%d predictions failed", tally.failed)
        return seconds

    def read_only(self, size: int) -> float:
        """Return the seconds of reading and decoding alone, `size` images at a time."""
        groups = [
            Group([str(i)] * len(part), part)
            for i in range(0, len(self.paths), size)
            for part in [self.paths[i : i + size]]
        ]
        began = time.perf_counter()
        for loaded in loader.load_batches(groups, device=self.device):
            if loaded.ready is not None:
                loaded.ready.synchronize()
        return time.perf_counter() - began


def measure_engine(
    bench: Bench, make_sink: Callable[[int], tuple[Any, list[str]]], runs: int
) -> None:
    """Measure reading, reading and computing, and all of it; note where the time goes."""
    report, n = bench.report, len(bench.paths)
    ids = [str(i) for i in range(n)]
    bench.run(Nowhere(), ids[: 2 * bench.size])
    report["reading_images_s"] = n / bench.read_only(bench.size)
    report["without_writing_images_s"] = n / bench.run(Nowhere(), ids)
    logger.info("reading %.0f, without writing %.1f images/s",
                report["reading_images_s"], report["without_writing_images_s"])  # fmt: skip
    whole, gpu, writing = [], [], []
    for number in range(runs):
        sink, names = make_sink(number)
        seconds = bench.run(sink, names)
        whole.append(n / seconds)
        gpu.append(sum(one.seconds for one in bench.runners.values()) / seconds)
        writing.append(sink.seconds / seconds)
        report["boxes_an_image"] = sink.boxes / n / len(bench.ensemble.detectors)
        logger.info("whole: %.1f images/s; the GPU had members %.0f %% of it, the writer %.0f %%",
                    whole[-1], 100 * gpu[-1], 100 * writing[-1])  # fmt: skip
    report["engine_images_s"] = whole
    report["gpu_share"] = statistics.median(gpu)
    report["writer_share"] = statistics.median(writing)
    report["member_ms_in_the_run"] = {
        name: 1000 * one.seconds / max(one.seen, 1) for name, one in bench.runners.items()
    }
