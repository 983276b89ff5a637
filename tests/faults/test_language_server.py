"""A real vLLM server under concurrent requests, killed and restarted.

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
REST_S = 30.0  # pause of the circuit breaker

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
        patch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # starts one process less
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # avoids compiling at every start
        subprocess.run(
            [EXECUTABLE.with_name("python"), ROOT / "tools" / "tiny_vlm.py", folder / "tiny"],
            check=True,
            capture_output=True,
        )
        plan = Plan(
            str(folder / "tiny"), "tiny-vlm", device="cpu", port=port,
            max_side_px=256, context_tokens=4096, concurrency=IN_FLIGHT,
        )  # fmt: skip
        host = Host(plan, folder / "log")
        try:
            host.start()
            yield host
        finally:
            host.stop()


@pytest.fixture
def make_model(host):
    """Return a function that builds models which use the server."""
    models = []

    def make(max_tokens):
        models.append(
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
        return models[-1]

    yield make
    for model in models:
        model.client.close()


def picture(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(64, 200, size=2)
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def detections():
    return Detections(
        boxes_xyxy=np.array([[0.1, 0.1, 0.2, 0.3]], np.float32),
        scores=np.array([0.83], np.float32),
        class_ids=np.array([0]),
        classes=ROADWORK.names,
    )


def test_concurrent_answers_follow_schema(host, make_model):
    model, n = make_model(max_tokens=300), IN_FLIGHT
    batch = Batch(
        ids=tuple(map(str, range(n))),
        images=tuple(map(picture, range(n))),
        detections=(detections(),) * n,
    )
    before = load(host.plan.url)
    in_flight, over = [], threading.Event()
    port = urlsplit(host.plan.url).port

    def watch():
        while not over.wait(0.05):  # HTTP/1.1: a connection has one request in flight
            connections = psutil.Process().net_connections(kind="tcp")
            in_flight.append(sum(bool(c.raddr) and c.raddr.port == port for c in connections))

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
    assert all(0.0 < answer.p_yes < 1.0 for answer in answers)  # probabilities, not only words
    assert len({answer.p_yes for answer in answers}) > n // 2  # and they depend on the image
    assert max(in_flight) == n
    after = load(host.plan.url)
    generated = after["generated_tokens"] - before["generated_tokens"]
    assert generated == sum(len(reply.tokens) for reply in replies)


def test_killed_server_loses_only_its_images_and_resume_completes(host, make_model, tmp_path):
    model = make_model(max_tokens=24)  # truncated after the answer, which is enough
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

    def kill_during_batch():
        time.sleep(0.3)  # a batch takes seconds, and a busy server reports its load late
        host.stop(patience_s=0)
        killed_at.append(time.monotonic())

    def progress(done, total):
        if done == IN_FLIGHT:  # the second batch comes next
            threading.Thread(target=kill_during_batch).start()

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
    assert all(isinstance(answer, Answer) for answer in answered.values())


def member(name, tier, adapter):
    return Member(name=name, tier=tier, adapter=adapter, license="MIT", batch_size=IN_FLIGHT)
