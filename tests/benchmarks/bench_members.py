"""What members of full size take on this machine's GPU, beside what the plan says of them.

    make bench-gpu            or:  python tests/benchmarks/bench_members.py --out build/bench

Published weights are not needed: architectures are built in their true size with random weights,
written as the hub has them, and loaded and run as the cascade does it (`Ensemble.build`,
`member_runner.predict_member`), in the manifest's precision and batch size, over images of
1280 x 720. Every member runs in a separate process, which isolates its memory; then all share one
process, tier after tier. Exits with 1 if something is not as planned: parameters off by more than
2 %, memory by more than 15 %, or a failed prediction.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import math
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.append(str(Path(__file__).parents[1] / "tiny"))

import full_size
import numpy as np
import torch
import transformers
from member_report import faults_of, table
from member_results import HalvedBatches, counts, expect_valid, tensors_in
from pictures import drawn

from cascade import manifest as manifests
from cascade import registry
from cascade import taxonomy as taxonomies
from cascade.engine import member_runner
from cascade.ensemble import Ensemble
from cascade.errors import CascadeError
from cascade.fusion.calibration import Calibration
from cascade.imaging.batches import Batch, Image
from cascade.manifest import Manifest, Member
from cascade.planning import resources
from cascade.planning.resources import CONTEXT_MB, IMAGE_MB, Gpu
from cascade.predictions import Detections
from cascade.protocols import PRECISIONS
from cascade.runtime.devices import default_device

HEIGHT, WIDTH = 720, 1280
BOXES = 16  # an image, that segmenters are prompted by: as in the manifest's figures
REPETITIONS = 5
LOADED_AHEAD = 3  # members, while another has the GPU
TIERS = ("embedding", "detection", "geometry", "segmentation")
_FORK = multiprocessing.get_context("fork")  # what is imported is imported once
_MIB = 2**20
Turn = Callable[[], Any]

logger = logging.getLogger("bench_members")


@dataclass(frozen=True)
class Task:
    """What all processes know.

    Attributes:
        manifest: Whose members are measured.
        taxonomy: Its classes.
        pictures: As many as the largest batch.
        found: Boxes of each of them.
    """

    manifest: Manifest
    taxonomy: taxonomies.Taxonomy
    pictures: Sequence[Image]
    found: Sequence[Detections]

    @classmethod
    def of(cls, name: str, size: int, *, tiny: bool) -> Task:
        """Return the task for a packaged manifest and batches of at most `size` images."""
        manifest = manifests.load(name)
        taxonomy = taxonomies.load(manifest.taxonomy)
        rng = np.random.default_rng(0)
        corners = np.sort(rng.random((size, BOXES, 2, 2), np.float32), axis=2)
        found = [
            Detections(
                boxes_xyxy=one.reshape(BOXES, 4),
                scores=rng.random(BOXES, np.float32),
                class_ids=rng.integers(0, len(taxonomy.names), BOXES),
                classes=taxonomy.names,
            )
            for one in corners
        ]
        side = (90, 160) if tiny else (HEIGHT, WIDTH)
        return cls(manifest, taxonomy, drawn([side] * size), found)

    def batch(self, size: int, device: torch.device) -> Batch:
        """Return a batch whose views are yet to be made."""
        return Batch(
            ids=tuple(str(i) for i in range(size)),
            images=tuple(self.pictures[:size]),
            device=device,
            detections=tuple(self.found[:size]),
        )

    def ensemble(self, checkpoints: Mapping[str, Path]) -> Ensemble:
        """Return the ensemble of those members."""
        return Ensemble(
            manifest=self.manifest,
            taxonomy=self.taxonomy,
            checkpoints=checkpoints,
            calibration=Calibration.uncalibrated(deciding=self.taxonomy.deciding),
            left_out={},
        )

    def planned_mb(self, members: Sequence[Member], gpu: Gpu) -> float:
        """Return what `planning.plan` says that these members take together on one GPU."""
        restricted = self.manifest.model_copy(update={"members": tuple(members)})
        (load,) = resources.plan(restricted, images=1, gpus=[gpu]).loads
        return load.memory_mb


# -- Memory ----------------------------------------------------------------------------------


def free_caches(device: torch.device) -> None:
    """Give back what nobody uses, and forget peaks."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def memory(device: torch.device) -> dict[str, float]:
    """Return peaks of this process since `free_caches`, in MiB; nothing without a GPU.

    `total` is what the whole GPU has in use, as `nvidia-smi` shows it: the process is alone there.
    `reserved` is the allocator's part of it, `allocated` what tensors took of that.
    """
    if device.type != "cuda":
        return {}
    torch.cuda.synchronize()
    free, whole = torch.cuda.mem_get_info()
    now = torch.cuda.memory_reserved()
    reserved = torch.cuda.max_memory_reserved()
    context = whole - free - now
    return {
        "allocated": torch.cuda.max_memory_allocated() / _MIB,
        "reserved": reserved / _MIB,
        "context": context / _MIB,
        "total": (context + reserved) / _MIB,
        "nvidia_smi": nvidia_smi_mb(),
    }


def nvidia_smi_mb() -> float:
    """Return the memory in use that the driver's own tool shows, in MiB."""
    asked = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return float(said.split()[0])


def gpu_of(device: torch.device) -> Gpu:
    """Return this machine's GPU; where there is none, one that a plan can be made for."""
    if device.type != "cuda":
        return Gpu("H100", 80 * 1024)
    whole = torch.cuda.get_device_properties(device)
    return Gpu(whole.name, whole.total_memory / _MIB)


# -- One member ------------------------------------------------------------------------------


def alone(turn: Turn, task: Task, member: Member, checkpoint: Path) -> dict[str, Any]:
    """Load one member, run it when it has the GPU for itself, and return what it took."""
    began = time.perf_counter()
    model = task.ensemble({member.name: checkpoint}).build(member.name, torch.device("cpu"))
    loaded_s = time.perf_counter() - began
    turn()
    device = default_device()
    free_caches(device)
    model.module.to(device)
    loaded = memory(device)
    parameters = sum(one.numel() for one in model.module.parameters()) / 1e6

    size = member.batch_size
    counted = counts(results_of(task, member, model, task.batch(size, device), device))
    forward = speed_of_forward(task, member, model, device)
    whole = rate(
        size, lambda: member_runner.predict_member(model, member, task.batch(size, device), device)
    )
    row = {
        "member": member.name,
        "tier": member.tier,
        "batch_size": size,
        "parameters_m": round(parameters, 2),
        "manifest_parameters_m": member.parameters_m,
        "loaded_s": round(loaded_s, 1),
        "weights_mb": loaded.get("allocated"),
        "memory": memory(device),
        "planned_mb": task.planned_mb([member], gpu_of(device)),
        "outputs": counted,
        "forward_images_s": round(forward, 1),
        "images_s": round(whole, 1),
    }
    if size > 1:  # what the plan falls back on where memory is short
        free_caches(device)
        member_runner.predict_member(model, member, task.batch(size // 2, device), device)
        need = resources.memory_need(member).total_mb(size // 2)
        row["half"] = memory(device)
        row["half_planned_mb"] = CONTEXT_MB + need + size // 2 * IMAGE_MB
    return row


def results_of(
    task: Task, member: Member, model: Any, batch: Batch, device: torch.device
) -> dict[str, Any]:
    """Return what the engine makes of a batch, once it is known to be whole and finite."""
    with HalvedBatches() as halved:
        results = member_runner.predict_member(model, member, batch, device)
    if halved.records:
        raise RuntimeError(f"A batch was halved: {halved.records[0].getMessage()}")
    assert set(results) == set(batch.ids)
    for one in results.values():
        expect_valid(one)
    return results


def speed_of_forward(task: Task, member: Member, model: Any, device: torch.device) -> float:
    """Return images a second of `forward`, whose inputs are ready; raise for NaN, but in fp16."""
    half = member.precision != "fp32"
    casting = torch.autocast(device.type, PRECISIONS[member.precision]) if half else nullcontext()
    with torch.inference_mode(), casting:
        tensors = model.prepare(task.batch(member.batch_size, device))
        for one in tensors_in(model.forward(tensors)):
            # Random weights may leave the range of fp16; the engine sees to that by itself.
            if member.precision != "fp16" and torch.isnan(one).any():
                raise RuntimeError("forward returns NaN.")
        return rate(member.batch_size, lambda: model.forward(tensors))


def rate(images: int, work: Callable[[], Any]) -> float:
    """Return images a second of `work`, warm."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else (lambda: None)
    wait()
    began = time.perf_counter()
    for _ in range(REPETITIONS):
        work()
    wait()
    return images * REPETITIONS / (time.perf_counter() - began)


# -- All in one process ----------------------------------------------------------------------


def together(turn: Turn, task: Task, checkpoints: Mapping[str, Path]) -> dict[str, Any]:
    """Keep all members on the device and run them tier after tier over the largest batch."""
    ensemble = task.ensemble(checkpoints)
    built = {}
    for name in checkpoints:
        with suppress(CascadeError):  # on record already: it did not run alone
            built[name] = ensemble.build(name, torch.device("cpu"))
    wanted: Sequence[str] = turn()
    models = {name: built[name] for name in wanted}
    members = [task.manifest.member(name) for name in models]
    device = default_device()
    free_caches(device)
    for one in models.values():
        one.module.to(device)
    loaded = memory(device)
    size = max(one.batch_size for one in members)
    began = time.perf_counter()
    for tiers in (TIERS[:2], TIERS[2:]):  # each pass over the images has batches of its own
        batch = task.batch(size, device)
        for one in members:
            if one.tier in tiers:
                results_of(task, one, models[one.name], batch, device)
    return {
        "members": [one.name for one in members],
        "batch_size": size,
        "seconds": round(time.perf_counter() - began, 2),
        "weights_mb": loaded.get("allocated"),
        "memory": memory(device),
        "planned_mb": task.planned_mb(members, gpu_of(device)),
    }


# -- Processes -------------------------------------------------------------------------------


class Child:
    """A call in a process of its own, which begins at once and may wait for its turn.

    Args:
        work: Called with its turn, a function that returns what `go` was given, and `arguments`.
        arguments: Likewise.
        threads: Of torch.
    """

    def __init__(self, work: Callable[..., Any], *arguments: Any, threads: int) -> None:
        self._ours, theirs = _FORK.Pipe()
        self._process = _FORK.Process(target=_answer, args=(theirs, threads, work, arguments))
        self._process.start()
        theirs.close()

    def go(self, given: Any = None) -> Any:
        """Let it have its turn, wait, and return what it returned; raise its error, as words."""
        try:
            self._ours.send(given)
            answer, error = self._ours.recv()
        except (EOFError, BrokenPipeError):
            answer, error = None, "the process died"
        self._process.join()
        if error:
            raise RuntimeError(error)
        return answer

    def stop(self) -> None:
        """End it before its turn."""
        self._process.terminate()
        self._process.join()


def _answer(
    where: Connection, threads: int, work: Callable[..., Any], arguments: Sequence[Any]
) -> None:
    torch.set_num_threads(threads)
    try:
        where.send((work(where.recv, *arguments), None))
    except Exception as error:
        logger.debug("", exc_info=True)
        where.send((None, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"))


def written(
    members: Sequence[Member], folder: Path, *, tiny: bool
) -> tuple[dict[str, Path], dict[str, str]]:
    """Write every member's checkpoint, several at a time; return where, and what has none."""
    writers = tiny_writers() if tiny else full_size.WRITERS
    cores = os.cpu_count() or 1
    at_once = max(1, min(6, cores // 2))
    places: dict[str, Path] = {}
    skipped: dict[str, str] = {}
    waiting = []
    for one in members:
        if reason := unable(one, writers):
            skipped[one.name] = reason
        else:
            waiting.append(one.name)
    while waiting:
        now, waiting = waiting[:at_once], waiting[at_once:]
        children = {
            name: Child(_write, writers[name], folder / name, threads=max(1, cores // at_once))
            for name in now
        }
        for name, child in children.items():
            try:
                places[name] = child.go()
            except RuntimeError as error:
                skipped[name] = f"cannot be written here: {error}"
    return {one.name: places[one.name] for one in members if one.name in places}, skipped


def _write(turn: Turn, write: Callable[[Path], Path], folder: Path) -> Path:
    folder.mkdir()
    made = write(folder)
    turn()
    return made


def tiny_writers() -> dict[str, Callable[[Path], Any]]:
    """Return the writers of the families' tiny checkpoints, by member: for a dry run."""
    writers = {}
    for file in Path(full_size.tiny_dino.__file__).parent.glob("tiny_*.py"):
        for case in getattr(import_module(file.stem), "CASES", {}).values():
            writers |= dict.fromkeys(case.members, case.write)
    return writers


def unable(member: Member, writers: Mapping[str, Any]) -> str | None:
    """Return why a member is not measured; None where it can be."""
    if member.tier not in TIERS:
        return "works on a server of its own"
    if member.adapter == "worker":
        return "works in a process and an environment of its own"
    if registry.get(member.adapter).tracks:
        return "has no network: it works on boxes, on the CPU"
    if lack := registry.get(member.adapter).missing_error:
        return str(lack)
    return None if member.name in writers else "nobody wrote down its architecture"


# -- The report ------------------------------------------------------------------------------


def machine(turn: Turn) -> dict[str, Any]:
    """Return what the figures hold for. Asks the device: for a child."""
    turn()
    device = default_device()
    free_caches(device)
    torch.zeros(1, device=device)
    return {
        "gpu": gpu_of(device).name if device.type == "cuda" else None,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("torch", "torchvision", "transformers")},
        "empty_context": memory(device),
        "constants": {"CONTEXT_MB": CONTEXT_MB, "IMAGE_MB": IMAGE_MB},
    }


def main() -> int:
    """Measure, report, and return 1 where something is not as planned."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", default="roadwork")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--only", default="", help="members, separated by commas")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no member after it")
    parser.add_argument("--tiny", action="store_true", help="tiny checkpoints: a dry run")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    until = time.monotonic() + asked.minutes * 60
    members = [
        one
        for one in manifests.load(asked.manifest).members
        if not asked.only or one.name in asked.only.split(",")
    ]
    if not members:
        parser.error(f"{asked.manifest} has none of --only {asked.only}.")
    report: dict[str, Any] = {"members": [], "skipped": {}, "faults": {}}
    with tempfile.TemporaryDirectory() as folder:
        places, report["skipped"] = written(members, Path(folder), tiny=asked.tiny)
        logger.info("%d checkpoints written, %d skipped", len(places), len(report["skipped"]))
        size = max(one.batch_size for one in members if one.name in places)
        task = Task.of(asked.manifest, size, tiny=asked.tiny)
        measure(report, task, places, until, tiny=asked.tiny)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "members.json").write_text(json.dumps(report, indent=1))
    text = table(report["members"], report.get("together"))
    (asked.out / "members.md").write_text(text)
    sys.stdout.write(text)
    for name, reason in report["skipped"].items():
        sys.stdout.write(f"{name}: not measured, {reason}\n")
    for name, faults in report["faults"].items():
        sys.stdout.write(f"{name}: {'; '.join(faults)}\n")
    return 1 if report["faults"] else 0


def measure(
    report: dict[str, Any], task: Task, places: Mapping[str, Path], until: float, *, tiny: bool
) -> None:
    """Fill the report: each member alone, then all that ran."""
    threads = max(1, (os.cpu_count() or 1) // 8)  # each: several load at a time
    everyone = Child(together, task, places, threads=threads)  # loads meanwhile
    report["machine"] = Child(machine, threads=threads).go()
    names = list(places)
    children: dict[str, Child] = {}
    ran = []
    for i, name in enumerate(names):
        for ahead in names[i : i + LOADED_AHEAD]:
            if ahead not in children:
                member = task.manifest.member(ahead)
                children[ahead] = Child(alone, task, member, places[ahead], threads=threads)
        if time.monotonic() > until:
            children[name].stop()
            report["skipped"][name] = "no time was left"
            continue
        try:
            row = children[name].go()
        except RuntimeError as error:
            report["faults"][name] = [str(error)]
            logger.info("%s: %s", name, error)
            continue
        ran.append(name)
        report["members"].append(row)
        logger.info("%s", json.dumps(row))
        if faults := faults_of(row, tiny=tiny):
            report["faults"][name] = faults
    try:
        report["together"] = everyone.go(ran)
    except RuntimeError as error:
        report["faults"]["together"] = [str(error)]
    else:
        logger.info("%s", json.dumps(report["together"]))
        if faults := faults_of(report["together"], tiny=tiny):
            report["faults"]["together"] = faults


if __name__ == "__main__":
    sys.exit(main())
