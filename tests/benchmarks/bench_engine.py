"""How near the engine comes to what the GPU allows, and to FiftyOne's own way, in one run.

    make bench-engine            or:  python tests/benchmarks/bench_engine.py --out build/bench

Five members of published size and random weights look at JPEGs of 1280 x 720, from file to stored
labels; detectors keep their 20 surest boxes. The bound is 1 / sum(1 / rate) over the members'
`forward`, compiled, at their best batch size, with data already on the device. The rival is
FiftyOne's `apply_model` and `compute_embeddings`, one member after another, with the same weights.
Where FiftyOne or its database is absent, ours writes its documents into a file, and there is no
rival. Nothing is asserted: what comes out is the result.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")  # else it warns at every worker
os.environ.setdefault("TRANSFORMERS_DISABLE_TORCH_CHECK", "1")
sys.path.append(str(Path(__file__).parents[1] / "tiny"))

import torch
import transformers
from engine_bound import forward_rates, warm, warm_all
from engine_members import ensemble_in, write_checkpoints, write_pictures
from engine_rival import measure_rival
from engine_run import Bench, measure_engine
from engine_sinks import sinks
from engine_writers import ENGINE_WRITERS

from cascade.engine.member_runner import Runner
from cascade.runtime.devices import default_device

logger = logging.getLogger("bench_engine")


def table(report: Mapping[str, Any]) -> str:
    """Return the results as Markdown."""
    rows = ["| what | images/s |", "| --- | --- |"]
    how = ", compiled" if "compiling_s" in report else ""
    for name, one in report.get("forward", {}).items():
        size, best = max(one.items(), key=lambda pair: pair[1])
        rows.append(f"| forward of {name}{how}, {size} at a time | {best:.0f} |")
    bound = report.get("bound_images_s")
    if bound:
        rows.append(f"| **bound**: all of them, one after another | **{bound:.1f}** |")
    for key, name in (
        ("reading_images_s", "reading and decoding alone"),
        ("without_writing_images_s", "engine, nothing written"),
    ):
        if key in report:
            rows.append(f"| {name} | {report[key]:.1f} |")
    if "engine_images_s" in report:
        found = report["engine_images_s"]
        median = statistics.median(found)
        rows.append(
            f"| **engine, from file to {report['stored_in']}**, median of {len(found)} "
            f"({min(found):.1f} to {max(found):.1f}) | **{median:.1f}** |"
        )
        rows.append(f"| engine / bound | {median / bound:.2f} |")
        rows.append(
            f"| share of the time that the GPU computes members | {report['gpu_share']:.2f} |"
        )
        rows.append(f"| share of the time that the writer writes | {report['writer_share']:.2f} |")
        if "rival_images_s" in report:
            each = report["rival_images_s"]
            rival = 1 / sum(1 / one for one in each.values())
            words = ", ".join(f"{name} {one:.1f}" for name, one in each.items())
            rows.append(f"| FiftyOne, one member after another ({words}) | {rival:.1f} |")
            rows.append(f"| engine / FiftyOne | {median / rival:.1f} |")
    return "\n".join(rows) + "\n"


def machine(device: torch.device) -> dict[str, Any]:
    """Return what the figures hold for."""
    return {
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("torch", "torchvision", "transformers")},
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> int:
    """Measure all of it and write the report, part by part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rival-images", type=int, default=256)
    parser.add_argument("--minutes", type=float, default=60, help="start no part after it")
    parser.add_argument(
        "--sizes", help="batch sizes to try, separated by commas: each is compiled for minutes"
    )
    parser.add_argument("--tiny", action="store_true", help="tiny checkpoints: a dry run")
    parser.add_argument("--eager", action="store_true", help="nothing is compiled: a quick look")
    parser.add_argument("--weights", type=Path, help="folder that keeps them for another run")
    parser.add_argument("--warm", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if asked.warm:
        warm(asked.weights, asked.warm)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        measure(asked, Path(folder))
    return 0


def measure(asked: argparse.Namespace, folder: Path) -> None:
    """Take the parts in turn; what is measured is written at once."""
    until = time.monotonic() + asked.minutes * 60
    device = default_device()
    report: dict[str, Any] = {"machine": machine(device)}
    weights = asked.weights or folder / "weights"
    write_checkpoints(weights, tiny=asked.tiny)
    compiled = device.type == "cuda" and not asked.eager
    if compiled:
        report["compiling_s"] = warm_all(weights, list(ENGINE_WRITERS))
        logger.info("compiled in %.0f s", report["compiling_s"])
    paths = write_pictures(folder / "pictures", asked.images)
    ensemble = ensemble_in(weights)
    members = {one.name: one for one in ensemble.manifest.members}
    runners = {
        name: Runner(ensemble.build(name, device), one, device, compiled=compiled)
        for name, one in members.items()
    }
    bench = Bench(ensemble, runners, paths, device, report, asked.out)

    def bound() -> None:
        sizes = asked.sizes and [int(one) for one in asked.sizes.split(",")]
        report["forward"] = {n: forward_rates(one, device, sizes) for n, one in runners.items()}
        for name, one in runners.items():
            one.size = max(report["forward"][name].items(), key=lambda pair: pair[1])[0]
        best = [max(one.values()) for one in report["forward"].values()]
        report["bound_images_s"] = 1 / sum(1 / one for one in best)

    report["stored_in"], make_sink = sinks(ensemble, paths, folder)
    parts: list[Callable[[], None]] = [
        bound,
        lambda: measure_engine(bench, make_sink, asked.runs),
    ]
    if report["stored_in"] != "a file":
        parts.append(lambda: measure_rival(bench, weights, asked.rival_images))
    for part in parts:
        if time.monotonic() > until:
            logger.warning("no time was left")
            break
        part()
        bench.save()
    text = table(report)
    (asked.out / "engine.md").write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    sys.exit(main())
