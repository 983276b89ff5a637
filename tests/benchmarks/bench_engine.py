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
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")  # else it warns at every worker
os.environ.setdefault("TRANSFORMERS_DISABLE_TORCH_CHECK", "1")
sys.path.append(str(Path(__file__).parents[1] / "tiny"))

import cv2
import full_size
import numpy as np
import torch
import transformers
from pictures import drawn

from cascade import manifest as manifests
from cascade import run as engine
from cascade.engine import pipeline, reading
from cascade.engine.member import Runner, autocast, multiply_for
from cascade.engine.pipeline import Work
from cascade.ensemble import Ensemble
from cascade.images import Batch, Group
from cascade.manifest import Member
from cascade.predictions import DepthMap, Detections, Embedding

HEIGHT, WIDTH = 720, 1280
MOST_BOXES = 20
DISTINCT = 64  # pictures; more files are copies of them
SURE = 0.3
IOU, SCORE_OFF, ALIKE, COSINE = 0.95, 0.02, 0.99, 0.999
TIMED_S = 1.5
MANIFEST = """
name: engine
members:
  - {{name: dinov3_l, tier: embedding, adapter: dino, licence: MIT, precision: bf16,
     source: {folder}/dinov3_l}}
  - {{name: rt_detr_v2_r50, tier: detection, adapter: detr, licence: MIT, precision: bf16,
     source: {folder}/rt_detr_v2_r50}}
  - {{name: d_fine_l, tier: detection, adapter: detr, licence: MIT, precision: bf16,
     source: {folder}/d_fine_l}}
  - {{name: rf_detr_l, tier: detection, adapter: detr, licence: MIT, precision: bf16,
     source: {folder}/rf_detr_l}}
  - {{name: depth_anything_2_l, tier: geometry, adapter: depth_anything_2, licence: MIT,
     precision: bf16, source: {folder}/depth_anything_2_l}}
"""
SIZES = {"dinov3_l": 128, "depth_anything_2_l": 32}  # the best on an H100, by earlier trials
OTHER_SIZES = 64
TRAINED = """
name: trained
members:
  - {name: tiny_center, tier: detection, adapter: center_point, source: "package:tiny_center",
     licence: Apache-2.0}
  - {name: tiny_rtdetr, tier: detection, adapter: rt_detr, source: "package:tiny_rtdetr",
     licence: Apache-2.0}
"""

logger = logging.getLogger("bench_engine")


# -- What is run ----------------------------------------------------------------------------------


def write_pictures(folder: Path, count: int) -> list[Path]:
    """Write JPEGs of about 250 kB and return their files."""
    folder.mkdir()

    def encode(i: int) -> bytes:
        (one,) = drawn([(HEIGHT, WIDTH)], seed=i)
        soft = cv2.GaussianBlur(one, (3, 3), 0)  # as a lens leaves it
        return cv2.imencode(".jpg", soft, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()

    with ThreadPoolExecutor() as pool:
        encoded = list(pool.map(encode, range(min(DISTINCT, count))))
    paths = [folder / f"{i:05d}.jpg" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(encoded[i % len(encoded)])
    logger.info("JPEGs of %.0f kB", statistics.mean(map(len, encoded)) / 1000)
    return paths


def write_checkpoints(folder: Path, *, tiny: bool) -> None:
    """Write every member's weights."""
    for name, write in full_size.ENGINE_WRITERS.items():
        if (folder / name / "config.json").exists():
            continue
        (folder / name).mkdir(parents=True, exist_ok=True)
        if tiny:
            _write_tiny(name, folder / name)
        else:
            write(folder / name)
        logger.info("written: %s", name)


def _write_tiny(name: str, folder: Path) -> None:
    import tiny_depth_anything_2
    import tiny_detr
    import tiny_dino

    cases = {
        "dinov3_l": tiny_dino.CASES["dinov3_vit"],
        "rt_detr_v2_r50": tiny_detr.CASES["rt_detr_v2"],
        "d_fine_l": tiny_detr.CASES["d_fine"],
        "rf_detr_l": tiny_detr.CASES["rf_detr"],
        "depth_anything_2_l": tiny_depth_anything_2.CASES["depth_anything_2_metric"],
    }
    cases[name].write(folder)


def ensemble_in(folder: Path) -> Ensemble:
    """Return the ensemble whose weights lie in a folder."""
    return Ensemble.from_manifest(manifests.parse(MANIFEST.format(folder=folder)))


# -- The bound ------------------------------------------------------------------------------------


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
        multiply_for(runner.member, device)
        with torch.inference_mode(), autocast(runner.member, device):
            found[size] = rate(lambda given=tensors: runner._forward(given), size, device)
        logger.info("%s: %d at a time, %.1f images/s", runner.member.name, size, found[size])
    return found


def warm(folder: Path, name: str) -> None:
    """Compile one member into the cache that processes share."""
    ensemble, device = ensemble_in(folder), engine.default_device()
    model = ensemble.build(name, device)
    runner = Runner(model, ensemble.manifest.member(name), device, compiled=True)
    multiply_for(runner.member, device)
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
            [sys.executable, __file__, "--warm", name, "--weights", str(folder)],
            stdout=subprocess.DEVNULL,
            env=told,
        )
        for name in names
    ]
    for one in children:
        one.wait()
    return time.perf_counter() - began


# -- Sinks ----------------------------------------------------------------------------------------


@dataclass
class Nowhere:
    """Takes results and forgets them."""

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Forget `results`."""


@dataclass
class Stored:
    """Writes as the stages do: label fields, depth maps as files, vectors."""

    dataset: Any
    ensemble: Ensemble
    folder: Path
    seconds: float = 0.0
    boxes: int = 0

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Store `results`."""
        from fiftyone.core.utils import serialize_numpy_array

        from curation import closer_documents, store
        from curation.artifacts import Shelf

        began = time.perf_counter()
        detectors = self.ensemble.detectors
        kept = {i: {m: capped(row[m]) for m in detectors} for i, row in results.items()}
        written = store.write_members(
            self.dataset, kept,
            fingerprints={name: self.ensemble.fingerprint(name) for name in detectors},
            taxonomy=self.ensemble.taxonomy, calibration=self.ensemble.calibration,
        )  # fmt: skip
        self.boxes += written.boxes
        further: dict[str, dict[str, Any]] = {}
        vectors, (depth,) = self.ensemble.embedder, self.ensemble.present("geometry")
        shelf = Shelf(self.folder, depth, self.ensemble.fingerprint(depth))
        with ThreadPoolExecutor() as pool:  # PNG is compressed outside of Python
            kept_depth = pool.map(lambda i: shelf.keep_depth(i, results[i][depth]), results)
            placed = dict(zip(results, kept_depth, strict=True))
        for i, row in results.items():
            path, step = placed[i]
            further[i] = {
                vectors: serialize_numpy_array(row[vectors].vector),
                depth: closer_documents.depth_field(
                    str(path), step=step, unit=row[depth].unit, fingerprint=shelf.fingerprint
                ),
            }
        store.write_documents(self.dataset, further)
        self.seconds += time.perf_counter() - began


@dataclass
class Encoded:
    """Makes the same documents and appends them to a file, where there is no database."""

    ensemble: Ensemble
    folder: Path
    seconds: float = 0.0
    boxes: int = 0
    _fingerprints: dict[str, str] = field(default_factory=dict)

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Encode `results`."""
        import bson

        from curation import closer_documents, documents
        from curation.artifacts import Shelf

        began = time.perf_counter()
        rows: dict[str, dict[str, Any]] = {one: {} for one in results}
        for one in self.ensemble.manifest.members:
            name, fingerprint = one.name, self.ensemble.fingerprint(one.name)
            said = {i: row[name] for i, row in results.items()}
            if one.tier == "detection":
                made, _ = documents.member_fields(
                    {i: capped(found) for i, found in said.items()}, member=name,
                    fingerprint=fingerprint, taxonomy=self.ensemble.taxonomy,
                    calibrate=self.ensemble.calibration.apply,
                )  # fmt: skip
                self.boxes += sum(len(found["detections"]) for found in made.values())
            elif one.tier == "geometry":
                shelf = Shelf(self.folder, name, fingerprint)
                with ThreadPoolExecutor() as pool:
                    placed = list(pool.map(shelf.keep_depth, said, said.values()))
                made = {
                    i: closer_documents.depth_field(
                        str(path), step=step, unit=depth.unit, fingerprint=fingerprint
                    )
                    for (i, depth), (path, step) in zip(said.items(), placed, strict=True)
                }
            else:
                made = {i: {"vector": found.vector.tobytes()} for i, found in said.items()}
            for i, document in made.items():
                rows[i][name] = document
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "documents.bson").open("ab") as file:
            for i, row in rows.items():
                file.write(bson.encode({"_id": i, **row}))
        self.seconds += time.perf_counter() - began


def capped(found: Any) -> Any:
    """Return the surest boxes of an image: as many as are kept."""
    return found[:MOST_BOXES] if isinstance(found, Detections) else found


# -- The engine -----------------------------------------------------------------------------------


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
            pace=engine.pace_of(self.device, self.size),
        )  # fmt: skip
        seconds = time.perf_counter() - began
        if tally.failed:
            logger.warning("%d predictions failed", tally.failed)
        return seconds

    def read_only(self) -> float:
        """Return the seconds of reading and decoding alone."""
        groups = [
            Group([str(i)] * len(part), part)
            for i in range(0, len(self.paths), self.size)
            for part in [self.paths[i : i + self.size]]
        ]
        began = time.perf_counter()
        for one in reading.read(groups, device=self.device):
            if one.ready is not None:
                one.ready.synchronize()
        return time.perf_counter() - began


def measure_engine(
    bench: Bench, make_sink: Callable[[int], tuple[Any, list[str]]], runs: int
) -> None:
    """Measure reading, reading and computing, and all of it; note where the time goes."""
    report, n = bench.report, len(bench.paths)
    ids = [str(i) for i in range(n)]
    bench.run(Nowhere(), ids[: 2 * bench.size])
    report["reading_images_s"] = n / bench.read_only()
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


# -- Agreement ------------------------------------------------------------------------------------


def agreement(
    fast: Mapping[str, Mapping[str, Any]], reference: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return how far two runs say the same, by member: share of boxes, or the least cosine."""
    found: dict[str, Any] = {}
    for name in next(iter(reference.values())):
        pairs = [(fast[i][name], row[name]) for i, row in reference.items()]
        kind = pairs[0][1]
        if isinstance(kind, Detections):
            alike, boxes = map(sum, zip(*(_same_boxes(*one) for one in pairs), strict=True))
            found[name] = {"boxes": boxes, "alike": alike / max(boxes, 1)}
        elif isinstance(kind, Embedding):
            cosines = [float(a.vector @ b.vector) for a, b in pairs]
            found[name] = {"least_cosine": min(cosines)}
        elif isinstance(kind, DepthMap):
            found[name] = {"median_relative": statistics.median(_depth_off(*one) for one in pairs)}
    return found


def _same_boxes(fast: Detections, reference: Detections) -> tuple[int, int]:
    sure = reference[reference.scores > SURE]
    alike = 0
    for box, score, label in zip(sure.boxes_xyxy, sure.scores, sure.class_ids, strict=True):
        near = fast[(fast.class_ids == label) & (abs(fast.scores - score) <= SCORE_OFF)]
        alike += bool(len(near) and _ious(box, near.boxes_xyxy).max() >= IOU)
    return alike, len(sure)


def _ious(box: Any, boxes: Any) -> Any:
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    inner = np.clip(high - low, 0, None).prod(axis=1)
    both = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return inner / np.maximum(both - inner, 1e-12)


def _depth_off(fast: DepthMap, reference: DepthMap) -> float:
    return float(np.nanmedian(abs(fast.depth - reference.depth) / reference.depth))


def measure_agreement(bench: Bench, folder: Path, count: int) -> None:
    """Compare the fast path with float32, uncompiled, on images that OpenCV decoded."""
    ids = [str(i) for i in range(min(count, len(bench.paths)))]
    fast = engine.Memory()
    bench.run(fast, ids)
    reference: dict[str, dict[str, Any]] = {one: {} for one in ids}
    exact = ensemble_in(folder)
    for one in exact.manifest.members:
        member = one.model_copy(update={"precision": "fp32", "batch_size": 8})
        model = exact.build(one.name, bench.device)
        model.module.float()
        for name, said in _referred(model, member, ids, bench).items():
            reference[name][one.name] = said
        del model
        torch.cuda.empty_cache()
    bench.report["agreement"] = agreement(fast.results, reference)
    logger.info("agreement: %s", json.dumps(bench.report["agreement"]))


def _referred(model: Any, member: Member, ids: Sequence[str], bench: Bench) -> dict[str, Any]:
    from cascade.images import batches

    found: dict[str, Any] = {}
    for batch, _ in batches(ids, bench.paths[: len(ids)], batch_size=8, device=bench.device):
        found |= engine.of_member(model, member, batch, bench.device)
    return found


def measure_trained(bench: Bench, folder: Path) -> None:
    """Compare the paths on trained detectors, in their own precision, over scenes they know."""
    from curation.demo.dataset import write_dataset

    write_dataset(folder, n_drives_by_split={"train": 1, "val": 4, "test": 4}, seed=5)
    paths = sorted(one for one in folder.rglob("*") if one.suffix in (".jpg", ".png"))
    ids = [str(i) for i in range(len(paths))]
    one = Ensemble.from_manifest(manifests.parse(TRAINED))
    members = {name: one.manifest.member(name) for name in one.detectors}
    models = {name: one.build(name, bench.device) for name in members}
    fast = engine.Memory()
    on_cuda = bench.device.type == "cuda"
    runners = engine.runners_of(models, members, bench.device, compiled=on_cuda)
    replace(bench, runners=runners, paths=paths).run(fast, ids)
    reference: dict[str, dict[str, Any]] = {i: {} for i in ids}
    for name in members:
        plain, here = one.build(name, bench.device), replace(bench, paths=paths)
        for i, found in _referred(plain, members[name], ids, here).items():
            reference[i][name] = found
    bench.report["agreement_trained"] = agreement(fast.results, reference)
    logger.info("trained: %s", json.dumps(bench.report["agreement_trained"]))


# -- The rival ------------------------------------------------------------------------------------


def dataset_of(ensemble: Ensemble, paths: Sequence[Path], name: str) -> tuple[Any, list[str]]:
    """Return a new dataset of the images, declared, and its ids in the order of `paths`."""
    import fiftyone as fo

    from curation import fields

    dataset = fo.Dataset(name)
    dataset.add_samples([fo.Sample(filepath=str(path)) for path in paths], progress=False)
    fields.declare(dataset, ensemble.taxonomy, ensemble.detectors)
    geometry = tuple(one.name for one in ensemble.manifest.members if one.tier == "geometry")
    closer = {"geometry": geometry, "segmentation": (), "language": ()}
    fields.declare_closer(dataset, ensemble.taxonomy, ensemble.detectors, closer)
    dataset.add_sample_field(ensemble.embedder, fo.VectorField)
    at = dict(zip(*dataset.values(["filepath", "id"]), strict=True))
    return dataset, [at[str(path)] for path in paths]


def measure_rival(bench: Bench, folder: Path, count: int) -> None:
    """Run FiftyOne's own way: one member after another."""
    import fiftyone as fo

    def best_only(post: Callable[..., Any]) -> Callable[..., Any]:
        def capped_post(*given: Any, **named: Any) -> Any:
            return [
                {key: one[key][:MOST_BOXES] for key in one} if len(one["scores"]) else one
                for one in post(*given, **named)
            ]

        return capped_post

    for kind in (transformers.RTDetrImageProcessor, transformers.RfDetrImageProcessor):
        if "post_process_object_detection" in vars(kind):
            kind.post_process_object_detection = best_only(kind.post_process_object_detection)
    dataset = fo.Dataset("rival")
    dataset.add_samples(
        [fo.Sample(filepath=str(one)) for one in bench.paths[:count]], progress=False
    )
    autos = {
        "embedding": transformers.AutoModel,
        "detection": transformers.AutoModelForObjectDetection,
        "geometry": transformers.AutoModelForDepthEstimation,
    }
    rates = {}
    for one in bench.ensemble.manifest.members:
        model = autos[one.tier].from_pretrained(folder / one.name, dtype=torch.float32)
        began = time.perf_counter()
        how = {"batch_size": 32, "num_workers": 12, "progress": False}
        if bench.device.type != "cuda":
            how |= {"batch_size": 4, "num_workers": 0}
        if one.tier == "embedding":
            dataset.compute_embeddings(model, embeddings_field=one.name, **how)
        else:
            dataset.apply_model(model, label_field=one.name, **how)
        rates[one.name] = count / (time.perf_counter() - began)
        logger.info("FiftyOne, %s: %.1f images/s", one.name, rates[one.name])
        bench.report["rival_images_s"] = rates
        bench.save()
    first = dataset.first()
    bench.report["rival_boxes_an_image"] = {
        name: statistics.mean(map(len, dataset.values(f"{name}.detections.label")))
        for name in bench.ensemble.detectors
        if first[name] is not None
    }


# -- The report -----------------------------------------------------------------------------------


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
    for key in ("agreement", "agreement_trained"):
        for name, one in report.get(key, {}).items():
            words = ", ".join(f"{what} {value:.5g}" for what, value in one.items())
            rows.append(f"| {key.replace('_', ', ')}: {name} | {words} |")
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
    parser.add_argument("--compared", type=int, default=128, help="images that paths agree on")
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
    device = engine.default_device()
    report: dict[str, Any] = {"machine": machine(device)}
    weights = asked.weights or folder / "weights"
    write_checkpoints(weights, tiny=asked.tiny)
    compiled = device.type == "cuda" and not asked.eager
    if compiled:
        report["compiling_s"] = warm_all(weights, list(full_size.ENGINE_WRITERS))
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

    make_sink = sinks(bench, folder)
    parts: list[Callable[[], None]] = [
        bound,
        lambda: measure_engine(bench, make_sink, asked.runs),
        lambda: measure_agreement(bench, weights, asked.compared),
        lambda: measure_trained(bench, folder / "scenes"),
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


def sinks(bench: Bench, folder: Path) -> Callable[[int], tuple[Any, list[str]]]:
    """Return what makes a sink for one run, and the names of its images."""
    try:
        import fiftyone as fo

        fo.list_datasets()
    except Exception as error:  # noqa: BLE001 - FiftyOne raises many things where it has no database
        logger.warning("no FiftyOne here, so labels go to a file: %s", error)
        bench.report["stored_in"] = "a file"
        ids = [str(i) for i in range(len(bench.paths))]
        return lambda number: (Encoded(bench.ensemble, folder / f"out {number}"), ids)
    bench.report["stored_in"] = "FiftyOne's database"

    def make(number: int) -> tuple[Any, list[str]]:
        dataset, ids = dataset_of(bench.ensemble, bench.paths, f"ours {number}")
        return Stored(dataset, bench.ensemble, folder / f"out {number}"), ids

    return make


if __name__ == "__main__":
    sys.exit(main())
