"""Real nightly jobs: `curate jobs serve`, its database, and a Label Studio server.

Two schedulers share one database and are killed 50 times, and a server is temporarily unreachable.
The tests check the final content of the labeling server.
"""

import json
import random
import re
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "labeling_server"))

import label_studio_server
from fault_proxy import FaultProxy

from curation.jobs.store import JobStore
from curation.storage.database import mongod

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]

KILLS, BUDGET, POOL = 50, 2, 160
PATIENCE_S = 900


def pictures(folder, number):
    folder.mkdir(parents=True)
    for i in range(number):
        pixels = np.random.default_rng(i).integers(0, 255, (6, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((96, 72)).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture
def studio(tmp_path_factory):
    """Return a running Label Studio server; skip the test if it cannot start."""
    label_studio_server.require()
    return label_studio_server.shared(tmp_path_factory)


@pytest.fixture
def proxy(studio):
    """Return a proxy in front of the server, without faults at first."""
    with FaultProxy(studio.url) as proxy:
        yield proxy


@pytest.fixture
def job_maker(home, studio, proxy, tmp_path):
    """Return a function that adds a job with this server, and its environment variables."""
    environment = {
        "LABEL_STUDIO_URL": proxy.url,
        "LABEL_STUDIO_API_KEY": studio.personal_token(),
    }
    inbox = pictures(tmp_path / "inbox", POOL)

    def make(name, dataset, *words):
        home.curate(
            "jobs", "add", name, dataset, "--watch", inbox, "--labeler", "label-studio",
            "--budget", BUDGET, *words,
        )  # fmt: skip

    return make, environment


def tasks_of(server, dataset):
    """Return the data of every task of a dataset on the server."""
    projects = server.ask("GET", "/api/projects/?page_size=1000")["results"]
    tasks = []
    for project in projects:
        if dataset in project["title"]:
            path = f"/api/tasks/?project={project['id']}&page_size=1000&fields=all"
            tasks += [task["data"] for task in server.ask("GET", path)["tasks"]]
    return tasks


def kill(scheduler, home, target):
    """Kill a scheduler, the running attempts, or both; return whether the scheduler was killed."""
    if target != "attempt":
        scheduler.process.kill()
        scheduler.process.wait()
    if target != "scheduler":
        for process in attempts_of(home):
            with suppress(psutil.NoSuchProcess):
                process.kill()
    return target != "attempt"


def attempts_of(home):
    """Return the processes of running attempts, including those of killed schedulers."""
    processes = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "--once" in process.cmdline() and process.cwd() == str(home.user):
                processes.append(process)
    return processes


def await_work(store, *, timeout_s):
    """Wait until an attempt has started, or until the timeout."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if any(run.state == "running" for run in store.open_runs("nightly")):
            return
        time.sleep(0.05)


def latest_s(store):
    """Return the duration of the latest complete attempt, which depends on the machine's load."""
    for run in store.runs("nightly", limit=5):
        if run.state == "done":
            return (run.attempts[-1].ended - run.attempts[-1].began).total_seconds()
    return None


def test_killed_schedulers_push_every_sample_once(home, studio, proxy, job_maker):
    make, environment = job_maker
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    make("warm", "warmup", "--every", "1d")
    start_s = time.monotonic()
    home.curate("jobs", "run", "warm", **environment)
    run_s = time.monotonic() - start_s  # one undisturbed run, including imports
    home.curate("jobs", "remove", "warm")

    every_s = max(5, round(run_s / 2))
    make(
        "nightly", "site", "--every", f"{every_s}s", "--overlap", "skip", "--retries", 12,
        "--backoff", "1s",
    )  # fmt: skip
    serve = ("curate", "jobs", "serve", "--every", "0.5")
    running = [home.start(*serve, **environment) for _ in range(2)]
    with mongod.open_client(mongod.status(home.settings).uri) as client:
        store = JobStore(client.fiftyone)
        for _ in range(KILLS):
            is_aimed = chance.random() < 0.5  # otherwise it may hit a start or a pause
            if is_aimed:
                await_work(store, timeout_s=3 * every_s)
            time.sleep(chance.uniform(0, 0.8 if is_aimed else 2.0) * (latest_s(store) or run_s))
            i = chance.randrange(2)
            target = chance.choice(
                ["attempt", "both"] if is_aimed else ["scheduler", "attempt", "both"]
            )
            if kill(running[i], home, target):
                running[i] = home.start(*serve, **environment)
        deadline = time.monotonic() + PATIENCE_S
        while not all("Scheduling" in scheduler.out for scheduler in running):
            assert time.monotonic() < deadline, [scheduler.err for scheduler in running]
            time.sleep(0.2)
        before = len(store.runs("nightly"))
        while not any(run.state == "done" for run in store.runs("nightly")[:-before]):
            assert time.monotonic() < deadline, f"seed {seed}: no night after the last kill"
            time.sleep(0.2)
        for scheduler in running:
            scheduler.process.terminate()
        stopped = [scheduler.wait() for scheduler in running]
        runs, job = store.runs("nightly")[::-1], store.job("nightly")
    tasks = tasks_of(studio, "site")

    summary = json.dumps([(run.state, len(run.attempts), run.reason) for run in runs])
    context = f"seed {seed}, a run takes {run_s:.0f} s\n{summary}"
    assert stopped == [0, 0], context
    dues = [int(run.due.timestamp()) for run in runs]
    first = int(job.created.astimezone(UTC).timestamp()) + every_s
    assert dues == list(range(first, first + every_s * len(dues), every_s)), context
    ended = [run for run in runs if not run.is_open]
    assert len(runs) - len(ended) <= 2, context  # those that are still due
    assert all(run.reason for run in ended), context
    assert {run.state for run in ended} <= {"done", "skipped", "failed", "missed"}, context

    crashes = [a for run in runs for a in run.attempts if "crash" in a.outcome]
    done = [run for run in runs if run.state == "done"]
    assert len(crashes) >= 5, context  # the kills interrupted work
    assert len(done) >= 3, context

    samples = Counter(task["sample_id"] for task in tasks)
    assert max(samples.values()) == 1, context
    rounds = [run.result["round"] for run in done]
    assert len(set(rounds)) == len(rounds), context
    batches = Counter(task["round"] for task in tasks)
    assert all(batches[number] == BUDGET for number in rounds), (batches, context)
    assert set(batches.values()) == {BUDGET}, "a batch is complete or absent"
    imports = [path for method, path, _ in proxy.seen if method == "POST" and "/import" in path]
    assert len(imports) >= len(batches)
    print(f"{context}\n{len(crashes)} crashes, {len(imports)} imports, {len(tasks)} tasks")  # noqa: T201


@pytest.fixture
def webhook():
    """Return the address of a webhook receiver, and the list of its messages."""
    messages = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", messages
        server.shutdown()
        thread.join()


def test_unreachable_server_gets_batch_once_after_recovery(
    home, studio, proxy, job_maker, webhook
):  # fmt: skip
    make, environment = job_maker
    address, messages = webhook
    make("nightly", "away", "--every", "1d", "--backoff", "2s", "--notify", address)
    proxy.fault = lambda method, path: "drop"
    command = home.start("curate", "jobs", "run", "nightly", **environment)
    deadline = time.monotonic() + PATIENCE_S
    while len(messages) < 2 and time.monotonic() < deadline:
        assert command.is_running, command.err
        time.sleep(0.2)
    assert tasks_of(studio, "away") == []
    output = home.curate("jobs", "history", "nightly", COLUMNS=200).out
    assert "waiting" in output or "running" in output
    proxy.fault = lambda method, path: None
    assert command.wait() == 0, command.err
    assert re.search(r"nightly .* UTC: done", command.out)

    samples = Counter(task["sample_id"] for task in tasks_of(studio, "away"))
    assert len(samples) == BUDGET
    assert set(samples.values()) == {1}
    *retries, last = messages
    assert [message["event"] for message in retries] == ["retry"] * len(retries)
    assert [message["attempt"] for message in messages] == list(range(1, len(messages) + 1))
    assert all("Label Studio" in message["reason"] for message in retries)
    assert all(message["next_attempt"] for message in retries)
    assert (last["event"], last["result"]["push"]["pushed"]) == ("recovered", BUDGET)
