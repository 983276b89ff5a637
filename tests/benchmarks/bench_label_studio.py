"""How fast the Label Studio bridge is, how much memory it takes, and what it loses: nothing.

    python tests/benchmarks/bench_label_studio.py --tasks 20000 --out build/bench

Starts a real server on loopback (`make label-studio` builds it) and a database of its own, and
does on this machine, one after the other:

* push: that many tasks with five boxes each, by one process whose memory is watched;
* pull: as many annotations, seeded by import, while others write more; ids are compared;
* side by side: 100 images with boxes, by FiftyOne's own connector and by ours, in one run. At
  more than 100 it fails, so 100 is what can be compared.

Ends with 1 where something is lost or twice.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "labeling_server"))

import numpy as np
from label_studio_server import EXECUTABLE, MISSING, LabelStudioServer
from own_database import own_database
from PIL import Image

from cascade import taxonomy as taxonomies
from cascade.predictions import Detections
from curation.labeling.label_studio.annotations.reader import SampleImage
from curation.labeling.label_studio.api import tasks as stored_tasks
from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.settings import Server
from curation.labeling.label_studio.backend import LabelStudio
from curation.labeling.label_studio.task_json import task_key, to_task
from curation.labeling.protocol import Task

ROUND = "round-01"
BOXES, WRITTEN, COMPARED = 5, 300, 100
MIB = 2**20


class Memory:
    """The resident memory of this process, looked at many times a second."""

    def __init__(self) -> None:
        self.readings: list[int] = []
        self._done = threading.Event()

    def __enter__(self) -> Memory:
        self.readings.append(_resident())
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def growth_mib(self) -> float:
        """Return the most that it grew by."""
        return (max(self.readings) - self.readings[0]) / MIB

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self.readings.append(_resident())


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def tasks_of(taxonomy: Any, count: int, paths: list[Path] | None = None) -> list[Task]:
    """Return tasks with boxes; without paths, of images that need no upload."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(1, count + 1):
        corners = np.sort(rng.random((BOXES, 2, 2)), axis=1).reshape(BOXES, 4)
        boxes = Detections(
            boxes_xyxy=corners.astype(np.float32),
            scores=np.full(BOXES, 0.5, np.float32),
            class_ids=rng.integers(0, len(taxonomy.names), BOXES),
            classes=taxonomy.names,
        )
        where = str(paths[i - 1]) if paths else f"https://images.invalid/{i}.jpg"
        because = "the members disagree"
        rows.append(Task(f"{i:024x}", where, 640, 480, 1, i, "hard", 0.5, because, boxes))
    return rows


def labeler_of(server: LabelStudioServer, tasks: list[Task], folder: Path, name: str) -> Any:
    """Return a labeler that knows these samples."""
    known = {one.sample_id: SampleImage(one.width, one.height, one.filepath) for one in tasks}
    address = Server(server.url, server.token)
    return LabelStudio(
        lambda: Client(address), dataset=name, dataset_id=name,
        taxonomy=taxonomies.load("roadwork_core"),
        read_samples=lambda _: known, folder=folder / name,
    )  # fmt: skip


def push(server: LabelStudioServer, folder: Path, count: int) -> dict[str, Any]:
    """Push many tasks, twice."""
    given = tasks_of(taxonomies.load("roadwork_core"), count)
    labeler_of(server, given[:1], folder, "warm").push(given[:1])  # imports, first connection
    ours = labeler_of(server, given, folder, "push")
    with Memory() as memory:
        began = time.monotonic()
        ours.push(given)
        took_s = time.monotonic() - began
    began = time.monotonic()
    again = ours.push(given)
    again_s = time.monotonic() - began
    with ours.open_project() as (client, project):
        keys = [
            one["data"]["sample_id"] for page in stored_tasks.pages(client, project) for one in page
        ]
    return {
        "tasks": count,
        "seconds": round(took_s, 2),
        "tasks_per_s": round(count / took_s, 1),
        "memory_growth_mib": round(memory.growth_mib, 1),
        "again_pushed": again.pushed,
        "again_seconds": round(again_s, 2),
        "whole": sorted(keys) == [one.sample_id for one in given],
    }


def pull(server: LabelStudioServer, folder: Path, count: int) -> dict[str, Any]:
    """Pull many annotations while others write."""
    taxonomy = taxonomies.load("roadwork_core")
    given = tasks_of(taxonomy, count + 1)
    ours = labeler_of(server, given, folder, "pull")
    ours.push(given[:1])  # makes the project
    with ours.open_project() as (client, project):
        for i in range(1, len(given), 500):
            rows = [_annotated(taxonomy, one) for one in given[i : i + 500]]
            stored_tasks.import_tasks(client, project, json.dumps(rows).encode())
        pages = stored_tasks.pages(client, project, include=("id", "annotations"))
        ids, seeded = [], set()
        for page in pages:
            ids += [one["id"] for one in page]
            seeded |= {made["id"] for one in page for made in one["annotations"]}
    written: set[int] = set()
    writer = threading.Thread(target=_write, args=(server, ids, written), daemon=True)
    with Memory() as memory:
        began = time.monotonic()
        writer.start()
        first = ours.fetch(ROUND)
        took_s = time.monotonic() - began
    while_reading = len(first.samples.keys() - seeded)
    ours.end_import(ROUND, first)
    seen, mark = set(first.samples), first.mark
    while writer.is_alive():
        more = ours.fetch(ROUND, since=mark)
        ours.end_import(ROUND, more)
        seen |= more.samples.keys()
        mark = more.mark
    writer.join()
    last = ours.fetch(ROUND, since=mark)
    seen |= last.samples.keys()
    by_sample = [one.sample_id for one in first.merged.annotations]
    return {
        "annotations": len(seeded),
        "written_meanwhile": len(written),
        "of_them_seen_in_the_first_pull": while_reading,
        "seconds": round(took_s, 2),
        "annotations_per_s": round(len(seeded) / took_s, 1),
        "memory_growth_mib": round(memory.growth_mib, 1),
        "lost": len((seeded | written) - seen),
        "twice": len(by_sample) - len(set(by_sample)),
        "whole": seen == seeded | written and len(by_sample) == len(set(by_sample)),
    }


def _annotated(taxonomy: Any, task: Task) -> dict[str, Any]:
    key = task_key("pull", 1, task.sample_id)
    row = to_task(task, key=key, image_url=task.filepath, model_version="m", taxonomy=taxonomy)
    row["annotations"] = [{"result": row["predictions"][0]["result"], "lead_time": 3.0}]
    return row


def _write(server: LabelStudioServer, ids: list[int], written: set[int]) -> None:
    for one in np.random.default_rng(1).choice(ids, WRITTEN).tolist():
        made = server.ask("POST", f"/api/tasks/{one}/annotations/", {"result": []})
        written.add(made["id"])


def side_by_side(server: LabelStudioServer, folder: Path) -> dict[str, Any]:
    """Push 100 images with boxes by FiftyOne's connector and by ours, taking turns."""
    import fiftyone as fo

    taxonomy = taxonomies.load("roadwork_core")
    paths = _pictures(folder / "pictures")
    given = tasks_of(taxonomy, COMPARED, paths)
    dataset = fo.Dataset("compared")
    dataset.add_samples([_sample(fo, one) for one in given])
    theirs, ours = [], []
    for turn in range(3):
        labeler = labeler_of(server, given, folder, f"compared{turn}")
        began = time.monotonic()
        labeler.push(given)
        ours.append(time.monotonic() - began)
        began = time.monotonic()
        dataset.annotate(
            f"run{turn}", backend="labelstudio", label_field="predictions",
            label_type="detections", classes=list(taxonomy.names), url=server.url,
            api_key=server.token, project_name=f"theirs {turn}",
        )  # fmt: skip
        theirs.append(time.monotonic() - began)
    dataset.delete()
    return {
        "images": COMPARED,
        "fiftyone_seconds": [round(one, 2) for one in theirs],
        "ours_seconds": [round(one, 2) for one in ours],
        "ratio_of_medians": round(float(np.median(theirs) / np.median(ours)), 2),
        "note": "both upload all images; FiftyOne fails beyond 100",
    }


def _pictures(folder: Path) -> list[Path]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = []
    for i in range(COMPARED):
        path = folder / f"{i}.jpg"
        small = rng.integers(0, 255, (30, 40, 3), np.uint8)
        Image.fromarray(small).resize((640, 480)).save(path, quality=85)
        paths.append(path)
    return paths


def _sample(fo: Any, task: Task) -> Any:
    boxes = task.predictions
    return fo.Sample(
        filepath=task.filepath,
        metadata=fo.ImageMetadata(width=task.width, height=task.height),
        predictions=fo.Detections(
            detections=[
                fo.Detection(label=label, bounding_box=[x1, y1, x2 - x1, y2 - y1], confidence=0.5)
                for label, (x1, y1, x2, y2) in zip(
                    boxes.labels, boxes.boxes_xyxy.astype(float), strict=True
                )
            ]
        ),
    )


def main() -> int:
    """Run all of it and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=["push", "pull", "side_by_side"])
    chosen = parser.parse_args()
    if not EXECUTABLE.is_file():
        sys.exit(MISSING)
    folder = Path(tempfile.mkdtemp(prefix="bench-label-studio-"))
    server = LabelStudioServer(folder / "server")
    report: dict[str, Any] = {"load_before": os.getloadavg(), "cores": os.cpu_count()}
    try:
        server.start()
        for name, run in (("push", push), ("pull", pull)):
            if chosen.only in (None, name):
                report[name] = run(server, folder, chosen.tasks)
                print(json.dumps({name: report[name]}), flush=True)  # noqa: T201
        if chosen.only in (None, "side_by_side"):
            with own_database(folder / "home"):
                report["side_by_side"] = side_by_side(server, folder)
                print(json.dumps(report["side_by_side"]), flush=True)  # noqa: T201
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    report["load_after"] = os.getloadavg()
    if chosen.out:
        chosen.out.mkdir(parents=True, exist_ok=True)
        (chosen.out / "label_studio.json").write_text(json.dumps(report, indent=1))
    return 0 if all(report.get(one, {}).get("whole", True) for one in ("push", "pull")) else 1


if __name__ == "__main__":
    sys.exit(main())
