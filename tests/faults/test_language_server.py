"""A real vLLM server: asked by many at once, killed among them, and started again.

Needs the venv that `make vlm` builds, or CURATION_VLLM. Takes about two minutes and 2.5 GB.
"""

import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import psutil
import pytest
import torch
from jsonschema import validate
from vllm_server import VllmServer, load

from cascade import taxonomy
from cascade.engine.run import run
from cascade.engine.sinks import MemorySink
from cascade.imaging.batches import Batch
from cascade.manifest import Member
from cascade.models.detection.center_point import CenterPoint
from cascade.models.language import prompt
from cascade.models.language.vision_language import VisionLanguage
from cascade.predictions import Answer, Detections, Failure
from cascade.serving.vllm import Plan

ROOT = Path(__file__).parents[2]
EXECUTABLE = Path(os.environ.get("CURATION_VLLM") or ROOT / ".vllm" / "bin" / "vllm")
CPU = torch.device("cpu")
ROADWORK = taxonomy.load("roadwork")
IN_FLIGHT = 64
REST_S = 30.0  # of the circuit breaker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not EXECUTABLE.is_file(), reason="no vLLM here: run `make vlm`, or set CURATION_VLLM"
    ),
]


class Host:
    """A vLLM server that can be killed and started again at the same address."""

    def __init__(self, plan, log):
        self.plan, self.log = plan, log
        self.server = None

    def start(self):
        with self.log.open("ab") as output:
            self.server = VllmServer(self.plan, executable=str(EXECUTABLE), output=output)
        self.server.wait_until_ready(300)

    def stop(self, patience_s=20.0):
        if self.server is not None:
            self.server.stop(patience_s)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.delenv("CURATION_VLM_API_KEY", raising=False)
        patch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # one process less to start
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # else every start compiles vLLM
        subprocess.run(
            [EXECUTABLE.with_name("python"), ROOT / "tools" / "tiny_vlm.py", folder / "tiny"],
            check=True,
            capture_output=True,
        )
        plan = Plan(
            str(folder / "tiny"), "tiny-vlm", device="cpu", cpu_cache_gb=1, port=port,
            max_side_px=256, context_tokens=4096, concurrency=IN_FLIGHT,
        )  # fmt: skip
        made = Host(plan, folder / "log")
        try:
            made.start()
            yield made
        finally:
            made.stop()


@pytest.fixture
def asking(host):
    """Return the maker of models that ask the server."""
    made = []

    def make(max_tokens):
        made.append(
            VisionLanguage(
                taxonomy=ROADWORK,
                model="tiny-vlm",
                server=host.plan.url,
                max_side_px=256,
                max_tokens=max_tokens,
                concurrency=IN_FLIGHT,
                timeout_s=100.0,
            )
        )
        return made[-1]

    yield make
    for one in made:
        one.client.close()


def picture(seed):
    dice = np.random.default_rng(seed)
    height, width = dice.integers(64, 200, size=2)
    return dice.integers(0, 256, (height, width, 3), np.uint8)


def found():
    return Detections(
        boxes_xyxy=np.array([[0.1, 0.1, 0.2, 0.3]], np.float32),
        scores=np.array([0.83], np.float32),
        class_ids=np.array([0]),
        classes=ROADWORK.names,
    )


def test_many_questions_in_flight_are_answered_as_the_schema_says(host, asking):
    model, n = asking(max_tokens=300), IN_FLIGHT
    batch = Batch(
        ids=tuple(map(str, range(n))),
        images=tuple(map(picture, range(n))),
        detections=(found(),) * n,
    )
    before = load(host.plan.url)
    in_flight, over = [], threading.Event()
    port = urlsplit(host.plan.url).port

    def watch():
        while not over.wait(0.05):  # HTTP/1.1: a connection has one request in flight
            open_now = psutil.Process().net_connections(kind="tcp")
            in_flight.append(sum(bool(one.raddr) and one.raddr.port == port for one in open_now))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        replies = model.forward(model.prepare(batch))
    finally:
        over.set()
        watcher.join()
    for reply in replies:
        validate(json.loads(reply.text), prompt.schema(ROADWORK))
    answers = model.decode(replies, batch)
    assert all(0.0 < one.p_yes < 1.0 for one in answers)  # probabilities, not words alone
    assert len({one.p_yes for one in answers}) > n // 2  # and they depend on the image
    assert max(in_flight) == n
    after = load(host.plan.url)
    generated = after["generated_tokens"] - before["generated_tokens"]
    assert generated == sum(len(reply.tokens) for reply in replies)


def test_a_killed_server_costs_its_images_only_and_a_resume_fills_the_gap(host, asking, tmp_path):
    model = asking(max_tokens=24)  # cut off after the answer, which is enough
    ids = [f"{i:03d}" for i in range(3 * IN_FLIGHT)]
    paths = [tmp_path / f"{name}.png" for name in ids]
    for seed, path in enumerate(paths):
        cv2.imwrite(str(path), picture(seed))
    models = {"vlm": model, "boxes": CenterPoint(classes=("cone",), size=64, width=8)}
    members = {
        "vlm": member("vlm", "language", "vision_language"),
        "boxes": member("boxes", "detection", "center_point"),
    }
    sink, killed_at = MemorySink(), []

    def kill_amid_the_batch():
        time.sleep(0.3)  # the batch takes seconds; what a busy server says of itself comes late
        host.stop(patience_s=0)
        killed_at.append(time.monotonic())

    def progress(done, total):
        if done == IN_FLIGHT:  # the second batch comes next
            threading.Thread(target=kill_amid_the_batch).start()

    tally = run(models, members, ids, paths, sink, device=CPU, progress=progress)
    assert time.monotonic() - killed_at[0] < 10

    gap = {name for name in ids if isinstance(sink.results[name]["vlm"], Failure)}
    assert {sink.results[name]["vlm"].error for name in gap} == {"ServerError"}
    assert not gap & set(ids[:IN_FLIGHT])
    assert gap >= set(ids[2 * IN_FLIGHT :])
    assert gap & set(ids[IN_FLIGHT : 2 * IN_FLIGHT])
    assert tally.failed == len(gap)
    assert all(isinstance(sink.results[name]["boxes"], Detections) for name in ids)
    assert model.client.breaker.state == "open"

    host.start()
    time.sleep(max(0.0, killed_at[0] + REST_S + 5 - time.monotonic()))
    answered = {name: sink.results[name]["vlm"] for name in set(ids) - gap}
    again = MemorySink()
    resumed = run(models, members, ids, paths, again, device=CPU, todo={"vlm": gap, "boxes": set()})
    assert set(again.results) == gap
    assert all(set(row) == {"vlm"} for row in again.results.values())
    assert (resumed.predicted, resumed.failed) == (len(gap), 0)
    assert all(isinstance(row["vlm"], Answer) for row in again.results.values())
    assert all(isinstance(one, Answer) for one in answered.values())


def member(name, tier, adapter):
    return Member(name=name, tier=tier, adapter=adapter, license="MIT", batch_size=IN_FLIGHT)
