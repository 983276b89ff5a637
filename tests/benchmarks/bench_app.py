"""Opening a large dataset in the App, in a real browser, beside the same data written naively.

    python tests/benchmarks/bench_app.py --size 100000 --members 8 --out build/bench

The naive dataset holds the same boxes in fields that nobody declared indexes, groups or shown
fields for. Each is opened in turn, in a new profile; the clock stops when the first images have
arrived in the grid, and again when the counts beside the fields are there. Needs Chromium. Ends
with 1 where ours takes more than 5 s to its first thumbnails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from machine import describe, table
from own_database import own_database

os.environ.setdefault("HF_HUB_OFFLINE", "1")
CHROMIUM = "/usr/bin/chromium"
BOXES = 20.0
THUMBNAILS = 5  # of the first screen
_PATIENCE_MS = 600_000
_QUIET_S = 3.0  # without an answer: nothing more is coming


def main() -> int:
    """Run it and return the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--size", type=int, default=100_000)
    arguments.add_argument("--members", type=int, default=8)
    arguments.add_argument("--times", type=int, default=5)
    arguments.add_argument("--out", type=Path, default=Path("build/bench"))
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="curation-bench-") as home:
        found = _measure(given.size, given.members, given.times, Path(home))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "app.json").write_text(json.dumps(found, indent=1))
    print(f"{found['machine']}\n{_page(found)}")  # noqa: T201
    return int(not found["ok"])


def _measure(size: int, members: int, times: int, home: Path) -> dict[str, Any]:
    with own_database(home):
        began = time.monotonic()
        names = _datasets(size, members, home)
        _say("datasets are there", time.monotonic() - began)
        seen = _open_in_turn(names, times, home)
    median = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in seen.items()
    }
    return {
        "machine": describe(), "size": size, "members": members, "times": times,
        "seconds": median, "naive over ours": median["naive"][0] / median["ours"][0],
        "ok": median["ours"][0] <= 5.0,
    }  # fmt: skip


def _datasets(size: int, members: int, home: Path) -> list[str]:
    """Make both datasets and return their names."""
    import fiftyone as fo
    import synthetic_boxes
    from PIL import Image

    media = home / "media"
    media.mkdir()
    for i in range(200):
        Image.effect_noise((640, 360), 20 + i).convert("RGB").save(media / f"{i:03d}.jpg")
    made = synthetic_boxes.ensemble(home, [f"member_{i}" for i in range(members)])
    ours = synthetic_boxes.dataset("ours", size, made, BOXES, media)
    naive = fo.Dataset("naive", persistent=True)
    for name in made.detectors:
        naive.add_sample_field(name, fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
        naive.add_sample_field(f"{name}.detections.score", fo.FloatField)
        naive.add_sample_field(f"{name}.detections.raw_label", fo.StringField)
    kept = {"_media_type": 1, "_rand": 1, "filepath": 1, "metadata": 1, "tags": 1}
    kept |= {"created_at": 1, "last_modified_at": 1, "_dataset_id": 1}
    kept |= dict.fromkeys(made.detectors, 1)
    ours._sample_collection.aggregate(
        [
            {"$project": kept},
            {"$set": {"_dataset_id": naive._doc.id}},
            {"$out": naive._sample_collection_name},
        ]
    )
    for key in ("filepath", "created_at", "last_modified_at"):  # what FiftyOne itself indexes
        naive._sample_collection.create_index(key)
    return [naive.name, ours.name]


def _open_in_turn(names: list[str], times: int, home: Path) -> dict[str, list[tuple[float, float]]]:
    """Return the seconds to the first thumbnails, and to the counts, of each opening."""
    from playwright.sync_api import sync_playwright

    port = _free_port()
    with (home / "app.log").open("wb") as log:
        server = subprocess.Popen(
            [Path(sys.executable).with_name("curate"), "app", names[0], "--port", str(port),
             "--no-browser"],
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    try:
        _wait(port, server)
        with sync_playwright() as tool:
            browser = tool.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
            )
            for turn in range(times + 1):
                for name in names:
                    taken = _open(browser, f"http://127.0.0.1:{port}/datasets/{name}")
                    _say(f"{name}, {turn}", taken)
                    if turn:  # the first opening warms the server
                        seen[name].append(taken)
            browser.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    return seen


def _open(browser: Any, url: str) -> tuple[float, float]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(_PATIENCE_MS)
    arrived: list[float] = []
    counted: list[float] = []

    def note(request: Any) -> None:
        if "/media" in request.url:
            arrived.append(time.monotonic())
        elif "graphql" in request.url or "/tagging" in request.url:
            counted.append(time.monotonic())

    page.on("requestfinished", note)
    began = time.monotonic()
    page.goto(url, wait_until="commit")
    page.wait_for_selector("[data-cy=looker]", state="attached")
    while len(arrived) < THUMBNAILS:
        page.wait_for_timeout(20)
    thumbnails = max(arrived[THUMBNAILS - 1], began) - began
    while time.monotonic() - max([*arrived, *counted]) < _QUIET_S:
        page.wait_for_timeout(100)
    everything = max([*arrived, *counted]) - began
    context.close()
    return thumbnails, everything


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _PATIENCE_MS / 1000
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/"):
            return
        time.sleep(0.5)
    raise SystemExit("The App did not start.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _say(step: str, found: Any) -> None:
    print(f"{time.strftime('%H:%M:%S')} {step}: {found}", file=sys.stderr, flush=True)  # noqa: T201


def _page(found: dict[str, Any]) -> str:
    rows = [[name, *one] for name, one in found["seconds"].items()]
    lines = [
        f"{found['size']:,} samples x {found['members']} members x {BOXES:.0f} boxes, "
        f"medians of {found['times']}",
        table(["dataset", "seconds to the first thumbnails", "to the last answer"], rows),
        f"naive over ours: {found['naive over ours']:.2f}",
        f"ok: {found['ok']}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
