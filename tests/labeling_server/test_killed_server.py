"""The server itself is killed amid a push, and started again on what it left on its disk."""

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
from curation.labeling.label_studio.annotations.reader import Known
from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.retry import Retrying
from curation.labeling.label_studio.api.settings import Server
from curation.labeling.label_studio.backend import LabelStudio
from curation.labeling.protocol import Task

pytestmark = pytest.mark.slow

N, CHUNK = 1200, 150
KILLED_AFTER_S = (0.05, 0.25, 0.6)  # of the import that is under way


@pytest.fixture(scope="module")
def mortal(tmp_path_factory):
    """Return a server that no other test works with."""
    label_studio_server.require()
    server = label_studio_server.LabelStudioServer(tmp_path_factory.mktemp("mortal"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def given(roadwork):
    boxes = Detections(
        boxes_xyxy=np.array([[0.1, 0.2, 0.5, 0.75]], np.float32),
        scores=np.ones(1, np.float32), class_ids=np.zeros(1, np.int64), classes=roadwork.names,
    )  # fmt: skip
    return [
        Task(f"id{i}", f"https://images.invalid/{i}.jpg", 64, 48, 1, i, "hard", 0.5, "", boxes)
        for i in range(1, N + 1)
    ]


@pytest.fixture
def labeler(roadwork, given, tmp_path, request, monkeypatch):
    monkeypatch.setattr(push, "CHUNK_TASKS", CHUNK)
    sizes = {one.sample_id: Known(one.width, one.height, one.filepath) for one in given}

    def make(server, url=None, *, attempts):
        retrying = Retrying(attempts, first_s=0.5, longest_s=4.0, random=random.Random(0))
        address = Server(url or server.url, server.token)
        return LabelStudio(
            lambda: Client(address, retrying=retrying), dataset=request.node.name,
            dataset_id=request.node.name, taxonomy=roadwork, known=lambda _: sizes,
            folder=tmp_path / "notes",
        )  # fmt: skip

    return make


def kill_amid(server, which, after_s):
    """Return a judge that has the server killed a moment after an import began, and a flag."""
    killed = threading.Event()
    begun = []

    def kill():
        time.sleep(after_s)
        server.stop(signal.SIGKILL)
        killed.set()

    def judge(method, path):
        if method == "POST" and path.split("?")[0].endswith("/import"):
            begun.append(path)
            if len(begun) == which:
                threading.Thread(target=kill).start()

    return judge, killed


def rows_of(ours, server):
    with ours.project() as (_, project):
        query = f"project={project}&page_size={2 * N}&fields=all"
        return server.ask("GET", f"/api/tasks/?{query}")["tasks"]


def expect_each_once(rows, given):
    assert Counter(one["data"]["sample_id"] for one in rows) == {one.sample_id: 1 for one in given}
    assert {len(one["predictions"]) for one in rows} == {1}, "each with its pre-annotation"


@pytest.mark.parametrize("after_s", KILLED_AFTER_S)
def test_a_push_that_is_repeated_once_the_server_is_back(mortal, labeler, given, after_s):
    judge, killed = kill_amid(mortal, 3, after_s)
    with FaultProxy(mortal.url, judge) as proxy:
        with pytest.raises(LabelingError, match=r"Repeat|does not answer") as caught:
            labeler(mortal, proxy.url, attempts=2).push(given)
        assert "\n" not in str(caught.value)
        assert killed.wait(30)
    mortal.start()
    ours = labeler(mortal, attempts=6)
    there = {one["data"]["sample_id"] for one in rows_of(ours, mortal)}
    assert 2 * CHUNK <= len(there) < N
    pushed = ours.push(given)
    assert (pushed.pushed, pushed.existing) == (N - len(there), len(there))
    expect_each_once(rows_of(ours, mortal), given)


def test_a_push_that_goes_on_by_itself_when_the_server_is_back_in_time(mortal, labeler, given):
    judge, killed = kill_amid(mortal, 4, 0.2)
    with FaultProxy(mortal.url, judge) as proxy:
        restart = threading.Thread(target=lambda: killed.wait(60) and mortal.start())
        restart.start()
        ours = labeler(mortal, proxy.url, attempts=40)
        assert ours.push(given).pushed == N
        restart.join()
    expect_each_once(rows_of(labeler(mortal, attempts=6), mortal), given)
