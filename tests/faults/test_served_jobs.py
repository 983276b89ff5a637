"""Nights as they are: `curate jobs serve`, its database, and a Label Studio server.

Two schedulers work on one database through 50 kills without warning, and a server is away for a
while. What counts is what the labeling server holds in the end.
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

from curation.jobs.store import History
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
    """Return a running Label Studio server; the test is skipped where none can be started."""
    label_studio_server.require()
    return label_studio_server.shared(tmp_path_factory)


@pytest.fixture
def proxy(studio):
    """Return a proxy before the server that lets every request pass, until it is told."""
    with FaultProxy(studio.url) as made:
        yield made


@pytest.fixture
def at_work(home, studio, proxy, tmp_path):
    """Return the maker of a job that pushes to the server, and what it needs around it."""
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
    """Return the data of every task that the server holds for a dataset."""
    projects = server.ask("GET", "/api/projects/?page_size=1000")["results"]
    found = []
    for project in projects:
        if dataset in project["title"]:
            path = f"/api/tasks/?project={project['id']}&page_size=1000&fields=all"
            found += [task["data"] for task in server.ask("GET", path)["tasks"]]
    return found


def killed(scheduler, home, what):
    """Kill a scheduler, whatever attempt goes on, or both; return whether it was the scheduler."""
    if what != "attempt":
        scheduler.process.kill()
        scheduler.process.wait()
    if what != "scheduler":
        for one in attempts_of(home):
            with suppress(psutil.NoSuchProcess):
                one.kill()
    return what != "attempt"


def attempts_of(home):
    """Return the processes that are at a run, also those whose scheduler is gone."""
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error):
            if "--once" in one.cmdline() and one.cwd() == str(home.user):
                found.append(one)
    return found


def await_work(kept, *, most_s):
    """Wait until an attempt has begun its work, though not for ever."""
    ends = time.monotonic() + most_s
    while time.monotonic() < ends:
        if any(one.state == "running" for one in kept.unfinished("nightly")):
            return
        time.sleep(0.05)


def latest_s(kept):
    """Return how long the latest attempt took that was not cut off: the machine may be busy."""
    for run in kept.runs("nightly", limit=5):
        if run.state == "done":
            return (run.attempts[-1].ended - run.attempts[-1].began).total_seconds()
    return None


def test_two_schedulers_killed_fifty_times_push_every_sample_once(home, studio, proxy, at_work):
    make, environment = at_work
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    make("warm", "warmup", "--every", "1d")
    began = time.monotonic()
    home.curate("jobs", "run", "warm", **environment)
    takes_s = time.monotonic() - began  # one undisturbed run, with all that it imports
    home.curate("jobs", "remove", "warm")

    every_s = max(5, round(takes_s / 2))
    make(
        "nightly", "site", "--every", f"{every_s}s", "--overlap", "skip", "--retries", 12,
        "--backoff", "1s",
    )  # fmt: skip
    serve = ("curate", "jobs", "serve", "--every", "0.5")
    running = [home.start(*serve, **environment) for _ in range(2)]
    with mongod.open_client(mongod.status(home.settings).uri) as client:
        kept = History(client.fiftyone)
        for _ in range(KILLS):
            aimed = chance.random() < 0.5  # else it may fall anywhere, into a start or a pause, too
            if aimed:
                await_work(kept, most_s=3 * every_s)
            time.sleep(chance.uniform(0, 0.8 if aimed else 2.0) * (latest_s(kept) or takes_s))
            i = chance.randrange(2)
            what = chance.choice(["attempt", "both"] if aimed else ["scheduler", "attempt", "both"])
            if killed(running[i], home, what):
                running[i] = home.start(*serve, **environment)
        ends = time.monotonic() + PATIENCE_S
        while not all("Watching" in one.out for one in running):  # before, SIGTERM just ends them
            assert time.monotonic() < ends, [one.err for one in running]
            time.sleep(0.2)
        before = len(kept.runs("nightly"))
        while not any(one.state == "done" for one in kept.runs("nightly")[:-before]):
            assert time.monotonic() < ends, f"seed {seed}: no night after the last kill"
            time.sleep(0.2)
        for one in running:
            one.process.terminate()
        stopped = [one.wait() for one in running]
        runs, job = kept.runs("nightly")[::-1], kept.job("nightly")
    tasks = tasks_of(studio, "site")

    told = json.dumps([(one.state, len(one.attempts), one.reason) for one in runs])
    context = f"seed {seed}, a run takes {takes_s:.0f} s\n{told}"
    assert stopped == [0, 0], context
    dues = [int(one.due.timestamp()) for one in runs]
    first = int(job.created.astimezone(UTC).timestamp()) + every_s
    assert dues == list(range(first, first + every_s * len(dues), every_s)), context
    ended = [one for one in runs if not one.is_open]
    assert len(runs) - len(ended) <= 2, context  # those that were due when we looked
    assert all(one.reason for one in ended), context
    assert {one.state for one in ended} <= {"done", "skipped", "failed", "missed"}, context

    crashes = [a for one in runs for a in one.attempts if "crash" in a.outcome]
    done = [one for one in runs if one.state == "done"]
    assert len(crashes) >= 5, context  # the kills fell into the work
    assert len(done) >= 3, context

    samples = Counter(task["sample_id"] for task in tasks)
    assert max(samples.values()) == 1, context
    rounds = [one.result["round"] for one in done]
    assert len(set(rounds)) == len(rounds), context
    batches = Counter(task["round"] for task in tasks)
    assert all(batches[number] == BUDGET for number in rounds), (batches, context)
    assert set(batches.values()) == {BUDGET}, "a batch is whole or not there"
    imports = [path for method, path, _ in proxy.seen if method == "POST" and "/import" in path]
    assert len(imports) >= len(batches)
    print(f"{context}\n{len(crashes)} crashes, {len(imports)} imports, {len(tasks)} tasks")  # noqa: T201


@pytest.fixture
def webhook():
    """Return an address that keeps what is posted there, and what it kept."""
    heard = []

    class Keep(BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Keep) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", heard
        server.shutdown()
        thread.join()


def test_a_server_that_is_away_gets_the_batch_once_when_it_is_back(
    home, studio, proxy, at_work, webhook
):  # fmt: skip
    make, environment = at_work
    address, heard = webhook
    make("nightly", "away", "--every", "1d", "--backoff", "2s", "--notify", address)
    proxy.fault = lambda method, path: "drop"
    command = home.start("curate", "jobs", "run", "nightly", **environment)
    ends = time.monotonic() + PATIENCE_S
    while len(heard) < 2 and time.monotonic() < ends:
        assert command.is_running, command.err
        time.sleep(0.2)
    assert tasks_of(studio, "away") == []
    shown = home.curate("jobs", "history", "nightly", COLUMNS=200).out
    assert "waiting" in shown or "running" in shown
    proxy.fault = lambda method, path: None
    assert command.wait() == 0, command.err
    assert re.search(r"nightly .* UTC: done", command.out)

    samples = Counter(task["sample_id"] for task in tasks_of(studio, "away"))
    assert len(samples) == BUDGET
    assert set(samples.values()) == {1}
    *retries, last = heard
    assert [one["event"] for one in retries] == ["retry"] * len(retries)
    assert [one["attempt"] for one in heard] == list(range(1, len(heard) + 1))
    assert all("Label Studio" in one["reason"] for one in retries)
    assert all(one["next_attempt"] for one in retries)
    assert (last["event"], last["result"]["push"]["pushed"]) == ("recovered", BUDGET)
