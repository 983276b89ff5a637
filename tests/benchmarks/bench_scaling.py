"""Images a second over 1, 2, 4 and 8 GPUs, as many as there are: the same members and images.

    make bench-scaling       or, where there is no GPU:
    python tests/benchmarks/bench_scaling.py --tiny --devices cpu,cpu --images 512

Each count is a run of its own over worker processes (`cascade/engine/multiprocess.py`), from file
to discarded results; the database's share is in `bench_engine.py`. Loading and compiling
are left out: each process is timed from its first write to its last, and the rates are added.
Reading alone is measured beside it, so that one sees whether decoding is what the GPUs wait
for. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_DISABLE_TORCH_CHECK", "1")
sys.path.append(str(Path(__file__).parents[1] / "tiny"))

import torch
import transformers
from bench_engine import machine
from engine_bound import OTHER_SIZES, SIZES
from engine_members import ensemble_in, write_checkpoints, write_pictures
from engine_run import Bench

from cascade.engine import multiprocess
from cascade.engine.worker_process import Job
from cascade.planning.placement import Lane

logger = logging.getLogger("bench_scaling")

COUNTS = (1, 2, 4, 8)
BATCHES_A_SHARD = 2  # fine, so that none waits long for the last


@dataclass(frozen=True)
class Clock:
    """Forgets results, but notes when and how many came, in a file for each process."""

    folder: Path

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Note that `results` came."""
        with (self.folder / str(os.getpid())).open("a") as file:
            print(json.dumps([time.time(), len(results)]), file=file)


def main() -> int:
    """Measure every count of devices and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--images", type=int, default=4096, help="for every device of a run")
    parser.add_argument("--devices", help="separated by commas, instead of all GPUs")
    parser.add_argument("--tiny", action="store_true", help="tiny checkpoints: a dry run")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    devices = asked.devices.split(",") if asked.devices else _gpus()
    if not devices:
        parser.error("there is no GPU here: name --devices, for example cpu,cpu, and --tiny")
    report: dict[str, Any] = {"machine": machine(torch.device(devices[0])), "images_s": {}}
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "weights"
        write_checkpoints(weights, tiny=asked.tiny)
        most = max(one for one in COUNTS if one <= len(devices))
        paths = write_pictures(Path(scratch) / "pictures", asked.images * most)
        bench = Bench(ensemble_in(weights), {}, paths, torch.device(devices[0]), {}, asked.out)
        report["reading_images_s"] = len(paths) / bench.read_only(OTHER_SIZES)
        for count in [one for one in COUNTS if one <= most]:
            rate = _rate(weights, paths[: asked.images * count], devices[:count])
            report["images_s"][count] = rate
            logger.info("%d: %.1f images/s", count, rate)
            asked.out.mkdir(parents=True, exist_ok=True)
            (asked.out / "scaling.json").write_text(json.dumps(report, indent=1))
    sys.stdout.write(table(report))
    return 0


def table(report: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    rows = ["| devices | images/s | efficiency |", "| --- | --- | --- |"]
    alone = report["images_s"][1]
    for count, rate in report["images_s"].items():
        rows.append(f"| {count} | {rate:.1f} | {rate / (count * alone):.2f} |")
    rows.append(f"| reading alone, every core | {report['reading_images_s']:.1f} | |")
    return "\n".join(rows) + "\n"


def _gpus() -> list[str]:
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def _rate(weights: Path, paths: Sequence[Path], devices: Sequence[str]) -> float:
    """Return images a second of all devices together."""
    ensemble, compiled = ensemble_in(weights), devices[0] != "cpu"
    members = {
        one.name: one.model_copy(update={"batch_size": SIZES.get(one.name, OTHER_SIZES)})
        if compiled
        else one
        for one in ensemble.manifest.members
    }
    with tempfile.TemporaryDirectory() as clocks:
        job = Job(ensemble.build, members, partial(Clock, Path(clocks)), compiled=compiled)
        multiprocess.run(
            job, [Lane(tuple(members), tuple(devices))], [str(i) for i in range(len(paths))],
            paths, batches_a_shard=BATCHES_A_SHARD,
        )  # fmt: skip
        return sum(_rate_of(one) for one in Path(clocks).iterdir())


def _rate_of(clock: Path) -> float:
    """Return images a second of one process, between its first write and its last."""
    rows = [json.loads(one) for one in clock.read_text().splitlines()]
    if len(rows) < 2:
        raise SystemExit("A process wrote only once: give it more --images.")
    return sum(n for _, n in rows[1:]) / (rows[-1][0] - rows[0][0])


if __name__ == "__main__":
    sys.exit(main())
