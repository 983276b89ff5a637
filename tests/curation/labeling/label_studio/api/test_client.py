"""Client against a real server behind a failing proxy: clear errors and no duplicates."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import replace

import pytest

from curation.errors import LabelingError
from curation.labeling.label_studio import push
from curation.labeling.label_studio.api import tasks
from curation.labeling.label_studio.api.errors import PermissionDeniedError

ROUND = "round-01"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(push, "CHUNK_TASKS", 4)


@pytest.fixture
def cloud_task(make_task):
    """Return `cloud_task(i)`: a task whose image is not uploaded."""
    return lambda i: replace(make_task(i), filepath=f"https://images.invalid/{i}.jpg")


def is_import(method, path):
    return method == "POST" and path.split("?")[0].endswith("/import")


def keys(server, labeler):
    with labeler.open_project() as (_, project):
        rows = server.ask("GET", f"/api/tasks/?project={project}&page_size=1000")["tasks"]
    return Counter(row["data"]["sample_id"] for row in rows)


def fail_imports(faults):
    """Return a function that fails imports one after the other, then passes all."""
    left = iter(faults)
    return lambda method, path: next(left, None) if is_import(method, path) else None


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(["500"], id="500 before processing"),
        pytest.param(["500 after"], id="500 after processing"),
        pytest.param(["drop"], id="dropped before"),
        pytest.param(["drop after"], id="dropped after"),
        pytest.param([None, "429", "503", "500 after", "drop after", "500"], id="all of them"),
        pytest.param(["413"], id="too large"),
    ],
)
def test_every_task_arrives_once(label_studio, labeler, cloud_task, proxy, faults):
    batch = [cloud_task(i) for i in range(1, 15)]
    proxy.fault = fail_imports(faults)
    pushed = labeler(batch, url=proxy.url).push(batch)
    assert pushed.pushed == 14
    assert [fault for *_, fault in proxy.seen if fault] == [fault for fault in faults if fault]
    assert keys(label_studio, labeler(batch)) == {f"id{i}": 1 for i in range(1, 15)}


def test_task_processed_after_timeout_exists_once(label_studio, labeler, cloud_task, proxy):
    batch = [cloud_task(i) for i in range(1, 11)]
    proxy.fault, proxy.delay_s = fail_imports(["delay after"]), 3.0
    labeler(batch, url=proxy.url, timeout_s=1.5).push(batch)
    assert keys(label_studio, labeler(batch)) == {f"id{i}": 1 for i in range(1, 11)}


def test_duplicates_without_work_are_deleted(label_studio, labeler, cloud_task, proxy):
    """A chunk that arrives late, after it was missed and sent again."""
    batch = [cloud_task(i) for i in range(1, 4)]
    ours = labeler(batch)
    ours.push(batch)
    with ours.open_project() as (client, project):
        (page,) = tasks.pages(client, project)
        duplicates = [{"data": row["data"]} for row in page]
        path = f"/api/projects/{project}/import?return_task_ids=true"
        ids = label_studio.ask("POST", path, duplicates)["task_ids"]
    label_studio.ask("POST", f"/api/tasks/{ids[1]}/annotations/", {"result": []})
    assert ours.push(batch).pushed == 0
    with ours.open_project() as (client, project):
        (after,) = tasks.pages(client, project)
    first = [row["id"] for row in page]
    assert [row["id"] for row in after] == [first[0], first[2], ids[1]]
    assert [row.sample_id for row in ours.pull(ROUND)] == ["id2"]


LINES = {
    "401": r"does not accept the token in LABEL_STUDIO_API_KEY \(401\)",
    "403": r"does not let this user .* \(403: No rights here\.\).*administrator",
    "507": r"its disk is full\. Free disk space there, and repeat",
    "500": r"could not .* \(500",
    "503": r"does not answer .*503|does not answer",
    "drop": r"does not answer \(.*\)\. Start it, or correct LABEL_STUDIO_URL",
    "413": r"too large \(413\)",
}


@pytest.mark.parametrize(
    ("fault", "moment"),
    [*((fault, "first") for fault in LINES), ("507", "half-way"), ("drop", "half-way")],
)
def test_lasting_failure_is_one_line_and_second_push_succeeds(
    label_studio, labeler, cloud_task, proxy, fault, moment
):
    batch = [cloud_task(i) for i in range(1, 11)]
    imports = iter([None] if moment == "half-way" else [])

    def judge(method, path):
        if moment == "first":
            return fault
        return next(imports, fault) if is_import(method, path) else None

    proxy.fault = judge
    ours = labeler(batch, url=proxy.url, attempts=3)
    with pytest.raises(LabelingError, match=LINES[fault] if moment == "first" else None) as caught:
        ours.push(batch)
    line = str(caught.value)
    assert "\n" not in line
    assert label_studio.token not in line
    proxy.fault = lambda *_: None
    ours.push(batch)
    assert keys(label_studio, ours) == {f"id{i}": 1 for i in range(1, 11)}


def test_unreachable_server_is_one_line(labeler, cloud_task):
    batch = [cloud_task(1)]
    with pytest.raises(LabelingError, match=r"at http://127\.0\.0\.1:9 does not answer"):
        labeler(batch, url="http://127.0.0.1:9", attempts=2).push(batch)


@pytest.mark.parametrize(
    "token", ["f" * 40, "not a token", "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE1MDAwMDAwMDB9.c2ln"]
)
def test_invalid_or_expired_token_is_rejected(labeler, cloud_task, token):
    batch = [cloud_task(1)]
    with pytest.raises(LabelingError, match="does not accept the token") as caught:
        labeler(batch, token=token).push(batch)
    assert token not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_missing_permission_is_distinguished(connect, proxy):
    proxy.fault = lambda *_: "403"
    with connect(proxy.url) as client, pytest.raises(PermissionDeniedError, match="administrator"):
        client.request("log in", "GET", "api/current-user/whoami")


def test_tokens_are_not_in_urls_logs_or_errors(
    label_studio, labeler, cloud_task, proxy, caplog, tmp_path
):
    personal = label_studio.personal_token()
    batch = [cloud_task(i) for i in range(1, 6)]
    proxy.fault = fail_imports(["500 after", "429"])
    for name in ("curation", "httpx", "label_studio_sdk"):
        caplog.set_level(logging.DEBUG, name)
    labeler(batch, url=proxy.url, token=personal).push(batch)
    proxy.fault = lambda *_: "500"
    with pytest.raises(LabelingError) as caught:
        labeler(batch, url=proxy.url, token=personal, attempts=2).pull(ROUND)
    access = {row["Authorization"] for row in proxy.headers if "Authorization" in row}
    secrets = [personal, *(token.removeprefix("Bearer ") for token in access)]
    assert len(secrets) >= 2, "exchanged for an access token"
    seen = [
        caplog.text,
        str(caught.value),
        repr(caught.value),
        *(path for _, path, _ in proxy.seen),
    ]
    seen += [
        path.read_text() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".png"
    ]
    for secret in secrets:
        assert not any(secret in text for text in seen)
    assert "sessionid" not in " ".join(seen)


def test_session_cookies_are_not_stored(connect, proxy):
    with connect(proxy.url) as client:
        client.user_names()
        client.user_names()
    assert not any("Cookie" in row for row in proxy.headers)


def test_rate_limit_is_respected(connect):
    with connect(rate_limit=20.0) as client:
        began = time.monotonic()
        for _ in range(11):
            client.user_names()
    assert time.monotonic() - began >= 0.5


def test_retry_after_is_respected(connect, proxy):
    left = iter(["429"])
    proxy.fault = lambda *_: next(left, None)
    proxy.retry_after = "1"
    began = time.monotonic()
    with connect(proxy.url) as client:
        client.user_names()
    assert time.monotonic() - began >= 1.0


KILLED = """
    import sys
    from pathlib import Path
    from cascade import taxonomy
    from cascade.predictions import Detections
    from curation.labeling.label_studio import push
    from curation.labeling.label_studio.api.client import Client
    from curation.labeling.label_studio.backend import LabelStudio
    from curation.labeling.label_studio.api.settings import Server
    from curation.labeling.protocol import Task

    url, token, folder, name = sys.argv[1:]
    push.CHUNK_TASKS = 20
    roadwork = taxonomy.load("roadwork")
    tasks = [
        Task(f"id{i}", f"https://images.invalid/{i}.jpg", 64, 48, 1, i, "hard", 0.5, "",
             Detections.empty(roadwork.names))
        for i in range(1, 401)
    ]
    ours = LabelStudio(
        lambda: Client(Server(url, token)), dataset=name, dataset_id=name,
        taxonomy=roadwork, read_samples=lambda _: {}, folder=Path(folder),
    )
    print("begin", flush=True)
    print(ours.push(tasks), flush=True)
"""


def test_killed_push_is_resumed(label_studio, labeler, proxy, tmp_path, request):
    command = [
        sys.executable, "-c", textwrap.dedent(KILLED), proxy.url, label_studio.token,
        str(tmp_path / "notes"), request.node.name,
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        while sum(is_import(*row[:2]) for row in proxy.seen) < 7:
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    assert (tmp_path / "notes" / "pushing.json").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "existing=" in done.stdout
    ours = labeler([])
    assert 0 < int(done.stdout.split("existing=")[1].split(",")[0]) < 400
    assert keys(label_studio, ours) == {f"id{i}": 1 for i in range(1, 401)}
    assert not (tmp_path / "notes" / "pushing.json").exists()


def test_concurrent_pushes_are_rejected(labeler, cloud_task):
    batch = [cloud_task(1)]
    ours = labeler(batch)
    with ours.lock(), pytest.raises(LabelingError, match="Another push or sync"):
        labeler(batch).push(batch)
    assert labeler(batch).push(batch).pushed == 1
