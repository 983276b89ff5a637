"""A server killed during a push, and restarted from its disk."""

import random
import signal
import threading
import time
from collections import Counter

import label_studio_server
import numpy as np
import pytest
from fault_proxy import FaultProxy

from cascade.predictions import Detections
from curation.errors import LabelingError
from curation.labeling.label_studio import push
from curation.labeling.label_studio.annotations.reader import SampleImage
from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.retry import RetryPolicy
from curation.labeling.label_studio.api.settings import Server
from curation.labeling.label_studio.backend import LabelStudio
from curation.labeling.protocol import Task

pytestmark = pytest.mark.slow

N, CHUNK = 1200, 150
KILLED_AFTER_S = (0.05, 0.25, 0.6)  # after the start of an import


@pytest.fixture(scope="module")
def mortal(tmp_path_factory):
    """Return a server that other tests do not use."""
    label_studio_server.require()
    server = label_studio_server.LabelStudioServer(tmp_path_factory.mktemp("mortal"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def batch(roadwork):
    boxes = Detections(
        boxes_xyxy=np.array([[0.1, 0.2, 0.5, 0.75]], np.float32),
        scores=np.ones(1, np.float32), class_ids=np.zeros(1, np.int64), classes=roadwork.names,
    )  # fmt: skip
    return [
        Task(f"id{i}", f"https://images.invalid/{i}.jpg", 64, 48, 1, i, "hard", 0.5, "", boxes)
        for i in range(1, N + 1)
    ]


@pytest.fixture
def labeler(roadwork, batch, tmp_path, request, monkeypatch):
    monkeypatch.setattr(push, "CHUNK_TASKS", CHUNK)
    samples = {t.sample_id: SampleImage(t.width, t.height, t.filepath) for t in batch}

    def make(server, url=None, *, attempts):
        policy = RetryPolicy(attempts, first_s=0.5, longest_s=4.0, random=random.Random(0))
        address = Server(url or server.url, server.token)
        return LabelStudio(
            lambda: Client(address, retry_policy=policy), dataset=request.node.name,
            dataset_id=request.node.name, taxonomy=roadwork, read_samples=lambda _: samples,
            folder=tmp_path / "notes",
        )  # fmt: skip

    return make


def kill_during_import(server, number, after_s):
    """Return a function that kills the server after the start of an import, and an event."""
    killed = threading.Event()
    begun = []

    def kill():
        time.sleep(after_s)
        server.stop(signal.SIGKILL)
        killed.set()

    def judge(method, path):
        if method == "POST" and path.split("?")[0].endswith("/import"):
            begun.append(path)
            if len(begun) == number:
                threading.Thread(target=kill).start()

    return judge, killed


def rows_of(ours, server):
    with ours.open_project() as (_, project):
        query = f"project={project}&page_size={2 * N}&fields=all"
        return server.ask("GET", f"/api/tasks/?{query}")["tasks"]


def expect_each_once(rows, batch):
    assert Counter(row["data"]["sample_id"] for row in rows) == {t.sample_id: 1 for t in batch}
    assert {len(row["predictions"]) for row in rows} == {1}, "each has its pre-annotation"


@pytest.mark.parametrize("after_s", KILLED_AFTER_S)
def test_repeated_push_after_restart(mortal, labeler, batch, after_s):
    judge, killed = kill_during_import(mortal, 3, after_s)
    with FaultProxy(mortal.url, judge) as proxy:
        with pytest.raises(LabelingError, match=r"Repeat|does not answer") as caught:
            labeler(mortal, proxy.url, attempts=2).push(batch)
        assert "\n" not in str(caught.value)
        assert killed.wait(30)
    mortal.start()
    ours = labeler(mortal, attempts=6)
    arrived = {row["data"]["sample_id"] for row in rows_of(ours, mortal)}
    assert 2 * CHUNK <= len(arrived) < N
    pushed = ours.push(batch)
    assert (pushed.pushed, pushed.existing) == (N - len(arrived), len(arrived))
    expect_each_once(rows_of(ours, mortal), batch)


def test_push_resumes_if_server_restarts_in_time(mortal, labeler, batch):
    judge, killed = kill_during_import(mortal, 4, 0.2)
    with FaultProxy(mortal.url, judge) as proxy:
        restart = threading.Thread(target=lambda: killed.wait(60) and mortal.start())
        restart.start()
        ours = labeler(mortal, proxy.url, attempts=40)
        assert ours.push(batch).pushed == N
        restart.join()
    expect_each_once(rows_of(labeler(mortal, attempts=6), mortal), batch)
