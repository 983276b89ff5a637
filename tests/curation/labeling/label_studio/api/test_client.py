"""A real server behind a proxy that fails: each failure is one line, and nothing comes twice."""

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
from curation.labeling.label_studio.api.errors import DeniedError

ROUND = "round-01"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(push, "CHUNK_TASKS", 4)


@pytest.fixture
def cloud_task(make_task):
    """Return `cloud_task(i)`: a task whose image needs no upload."""
    return lambda i: replace(make_task(i), filepath=f"https://images.invalid/{i}.jpg")


def is_import(method, path):
    return method == "POST" and path.split("?")[0].endswith("/import")


def keys(server, labeler):
    with labeler.project() as (_, project):
        found = server.ask("GET", f"/api/tasks/?project={project}&page_size=1000")["tasks"]
    return Counter(one["data"]["sample_id"] for one in found)


def once(faults):
    """Return a judge that lets imports fail one after the other, then passes all."""
    left = iter(faults)
    return lambda method, path: next(left, None) if is_import(method, path) else None


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(["500"], id="500 before it was done"),
        pytest.param(["500 after"], id="500 after it was done"),
        pytest.param(["drop"], id="dropped before"),
        pytest.param(["drop after"], id="dropped after"),
        pytest.param([None, "429", "503", "500 after", "drop after", "500"], id="all of them"),
        pytest.param(["413"], id="too large at once"),
    ],
)
def test_every_task_arrives_once(label_studio, labeler, cloud_task, proxy, faults):
    given = [cloud_task(i) for i in range(1, 15)]
    proxy.fault = once(faults)
    pushed = labeler(given, url=proxy.url).push(given)
    assert pushed.pushed == 14
    assert [fault for *_, fault in proxy.seen if fault] == [one for one in faults if one]
    assert keys(label_studio, labeler(given)) == {f"id{i}": 1 for i in range(1, 15)}


def test_what_the_server_does_after_we_gave_up_waiting_is_there_once(
    label_studio, labeler, cloud_task, proxy
):
    given = [cloud_task(i) for i in range(1, 11)]
    proxy.fault, proxy.delay_s = once(["delay after"]), 3.0
    labeler(given, url=proxy.url, timeout_s=1.5).push(given)
    assert keys(label_studio, labeler(given)) == {f"id{i}": 1 for i in range(1, 11)}


def test_twins_go_but_none_that_somebody_worked_on(label_studio, labeler, cloud_task, proxy):
    """A chunk that arrives behind our back, after we looked and sent it again."""
    given = [cloud_task(i) for i in range(1, 4)]
    ours = labeler(given)
    ours.push(given)
    with ours.project() as (client, project):
        (page,) = tasks.pages(client, project)
        twins = [{"data": one["data"]} for one in page]
        path = f"/api/projects/{project}/import?return_task_ids=true"
        made = label_studio.ask("POST", path, twins)["task_ids"]
    label_studio.ask("POST", f"/api/tasks/{made[1]}/annotations/", {"result": []})
    assert ours.push(given).pushed == 0
    with ours.project() as (client, project):
        (after,) = tasks.pages(client, project)
    first = [one["id"] for one in page]
    assert [one["id"] for one in after] == [first[0], first[2], made[1]]
    assert [one.sample_id for one in ours.pull(ROUND)] == ["id2"]


LINES = {
    "401": r"does not accept the token in LABEL_STUDIO_API_KEY \(401\)",
    "403": r"does not let this user .* \(403: No rights here\.\).*administrator",
    "507": r"its disk is full\. Free it there, and repeat",
    "500": r"could not .* \(500",
    "503": r"does not answer .*503|does not answer",
    "drop": r"does not answer \(.*\)\. Start it, or mend LABEL_STUDIO_URL",
    "413": r"too large \(413\)",
}


@pytest.mark.parametrize(
    ("fault", "where"),
    [*((one, "at once") for one in LINES), ("507", "half-way"), ("drop", "half-way")],
)
def test_a_lasting_failure_is_one_clear_line_and_a_second_push_mends_it(
    label_studio, labeler, cloud_task, proxy, fault, where
):
    given = [cloud_task(i) for i in range(1, 11)]
    imports = iter([None] if where == "half-way" else [])

    def judge(method, path):
        if where == "at once":
            return fault
        return next(imports, fault) if is_import(method, path) else None

    proxy.fault = judge
    ours = labeler(given, url=proxy.url, attempts=3)
    with pytest.raises(LabelingError, match=LINES[fault] if where == "at once" else None) as caught:
        ours.push(given)
    line = str(caught.value)
    assert "\n" not in line
    assert label_studio.token not in line
    proxy.fault = lambda *_: None
    ours.push(given)
    assert keys(label_studio, ours) == {f"id{i}": 1 for i in range(1, 11)}


def test_a_server_that_is_gone(labeler, cloud_task):
    given = [cloud_task(1)]
    with pytest.raises(LabelingError, match=r"at http://127\.0\.0\.1:9 does not answer"):
        labeler(given, url="http://127.0.0.1:9", attempts=2).push(given)


@pytest.mark.parametrize(
    "token", ["f" * 40, "not a token", "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE1MDAwMDAwMDB9.c2ln"]
)
def test_a_wrong_or_expired_token(labeler, cloud_task, token):
    given = [cloud_task(1)]
    with pytest.raises(LabelingError, match="does not accept the token") as caught:
        labeler(given, token=token).push(given)
    assert token not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_rights_that_are_missing_are_told_apart(connect, proxy):
    proxy.fault = lambda *_: "403"
    with connect(proxy.url) as client, pytest.raises(DeniedError, match="administrator"):
        client.me()


def test_no_token_gets_into_addresses_logs_or_errors(
    label_studio, labeler, cloud_task, proxy, caplog, tmp_path
):
    personal = label_studio.personal_token()
    given = [cloud_task(i) for i in range(1, 6)]
    proxy.fault = once(["500 after", "429"])
    for name in ("curation", "httpx", "label_studio_sdk"):
        caplog.set_level(logging.DEBUG, name)
    labeler(given, url=proxy.url, token=personal).push(given)
    proxy.fault = lambda *_: "500"
    with pytest.raises(LabelingError) as caught:
        labeler(given, url=proxy.url, token=personal, attempts=2).pull(ROUND)
    access = {one["Authorization"] for one in proxy.headers if "Authorization" in one}
    secrets = [personal, *(one.removeprefix("Bearer ") for one in access)]
    assert len(secrets) >= 2, "it was exchanged for an access token"
    seen = [
        caplog.text,
        str(caught.value),
        repr(caught.value),
        *(path for _, path, _ in proxy.seen),
    ]
    seen += [
        one.read_text() for one in tmp_path.rglob("*") if one.is_file() and one.suffix != ".png"
    ]
    for secret in secrets:
        assert not any(secret in text for text in seen)
    assert "sessionid" not in " ".join(seen)


def test_no_session_is_kept(connect, proxy):
    with connect(proxy.url) as client:
        client.me()
        client.me()
    assert not any("Cookie" in one for one in proxy.headers)


def test_the_rate_limit_is_kept(connect):
    with connect(rate_limit=20.0) as client:
        began = time.monotonic()
        for _ in range(11):
            client.me()
    assert time.monotonic() - began >= 0.5


def test_retry_after_is_kept(connect, proxy):
    left = iter(["429"])
    proxy.fault = lambda *_: next(left, None)
    proxy.retry_after = "1"
    began = time.monotonic()
    with connect(proxy.url) as client:
        client.me()
    assert time.monotonic() - began >= 1.0


KILLED = """
    import sys
    from pathlib import Path
    from cascade import taxonomy
    from cascade.predictions import Detections
    from curation.labeling.label_studio import pushing
    from curation.labeling.label_studio.api.client import Client
    from curation.labeling.label_studio.backend import LabelStudio
    from curation.labeling.label_studio.api.settings import Server
    from curation.labeling.protocol import Task

    url, token, folder, name = sys.argv[1:]
    pushing.CHUNK_TASKS = 20
    roadwork = taxonomy.load("roadwork")
    tasks = [
        Task(f"id{i}", f"https://images.invalid/{i}.jpg", 64, 48, 1, i, "hard", 0.5, "",
             Detections.empty(roadwork.names))
        for i in range(1, 401)
    ]
    ours = LabelStudio(
        lambda: Client(Server(url, token)), dataset=name, dataset_id=name,
        taxonomy=roadwork, known=lambda _: {}, folder=Path(folder),
    )
    print("begin", flush=True)
    print(ours.push(tasks), flush=True)
"""


def test_a_push_that_was_killed_goes_on(label_studio, labeler, proxy, tmp_path, request):
    command = [
        sys.executable, "-c", textwrap.dedent(KILLED), proxy.url, label_studio.token,
        str(tmp_path / "notes"), request.node.name,
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        while sum(is_import(*one[:2]) for one in proxy.seen) < 7:
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


def test_two_pushes_at_once_on_one_machine(labeler, cloud_task):
    given = [cloud_task(1)]
    ours = labeler(given)
    with ours.alone(), pytest.raises(LabelingError, match="Another push or sync"):
        labeler(given).push(given)
    assert labeler(given).push(given).pushed == 1
