"""Script of `test_jobs.py`: two schedulers on one database, killed at random, 50 times.

    python schedulers.py FOLDER MONGODB SEED

A night takes a second. Its small work has the steps of the real one: it decides on a round,
chooses samples of a pool, and pushes them to a real labeler, with pauses for the kills.
"""

import json
import logging
import os
import random
import signal
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cascade import taxonomy
from cascade.predictions import Detections
from curation.jobs.execution import runner
from curation.jobs.models import Job
from curation.jobs.scheduler import Scheduler
from curation.jobs.store import JobStore
from curation.labeling.export_folder import read_rows
from curation.labeling.files.backend import FileLabeler
from curation.labeling.protocol import Task
from curation.storage.database import mongod
from curation.storage.database.lease import LeaseError

FOLDER, MONGODB, SEED = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
KILLS, A_NIGHT, POOL = 50, 3, 3000
CLASSES = taxonomy.load("roadwork_core")


def main():
    chance = random.Random(SEED)
    in_child(set_up)
    start_s = time.monotonic()
    running = {name: start(name) for name in "ab"}
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.1, 1.1))
        name = chance.choice("ab")
        os.kill(running[name], signal.SIGKILL)
        os.waitpid(running[name], 0)
        running[name] = start(name)
    in_child(wait_until_quiet)
    for pid in running.values():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    state = in_child(inspect)
    print(json.dumps({"seconds": time.monotonic() - start_s, **state}))  # noqa: T201


def set_up(store):
    store.prepare()
    store.database.pool.insert_many([{"_id": f"sample{i:05d}", "round": None} for i in range(POOL)])
    now = datetime.now(UTC).replace(microsecond=0)
    store.add(Job("nightly", "nightly", now, every_s=1, retries=8, backoff_s=0.1, catch_up="all"))


def serve(store):
    """Run a scheduler until it is killed."""
    Scheduler(store, InProcess(store)).serve(stop=lambda: False, every_s=0.05)


class InProcess:
    """Runs each attempt in the scheduler's process, which kills both together."""

    def __init__(self, store):
        self._store = store

    def launch(self, job, run):
        with suppress(LeaseError):  # the other scheduler was faster
            runner.attempt(job, run.due, work, self._store, lease_s=3)

    def is_busy(self, job):
        return False


def work(context):
    """Choose and push samples like a nightly job."""
    pool = context.store.database.pool
    pause()
    if "round" not in context.facts:
        last = pool.find_one({"round": {"$ne": None}}, sort=[("round", -1)])
        context.set_facts(round=1 + (last["round"] if last else 0))
    number = context.facts["round"]
    pause()
    while (count := pool.count_documents({"round": number})) < A_NIGHT:
        pool.find_one_and_update({"round": None}, {"$set": {"round": number}})
        pause()
    chosen = [sample["_id"] for sample in pool.find({"round": number}).sort("_id", 1)]
    context.renew_lease()
    result = labeler().push([task(sample, number, i) for i, sample in enumerate(chosen, start=1)])
    with (FOLDER / "pushed.jsonl").open("a") as file:
        line = {"round": number, "pushed": result.pushed, "existing": result.existing}
        file.write(json.dumps(line) + "\n")
    pause()
    return {"round": number, "chosen": chosen, "there": count}


def labeler():
    return FileLabeler(
        FOLDER / "labeling", taxonomy=CLASSES, copy_images=False, show_predictions=False
    )


def task(sample, number, rank):
    empty = Detections.empty(CLASSES.names)
    return Task(sample, f"/{sample}.jpg", 64, 48, number, rank, "hard", None, "", empty)


def pause():
    time.sleep(random.uniform(0, 0.16))


def wait_until_quiet(store):
    """Wait until no run is open."""
    deadline = time.monotonic() + 40
    while store.open_runs("nightly") and time.monotonic() < deadline:
        time.sleep(0.02)


def inspect(store):
    runs = store.runs("nightly")[::-1]
    rounds = sorted((FOLDER / "labeling").glob("round-*"))
    return {
        "created": store.job("nightly").created.timestamp(),
        "runs": [
            {
                "due": run.due.timestamp(), "state": run.state, "reason": run.reason,
                "attempts": [attempt.outcome for attempt in run.attempts],
                "round": run.result.get("round"), "chosen": run.result.get("chosen"),
            }
            for run in runs
        ],
        "rows": {folder.name: [row.sample_id for row in read_rows(folder)] for folder in rounds},
        "pushes": [json.loads(row) for row in (FOLDER / "pushed.jsonl").read_text().splitlines()],
    }  # fmt: skip


def start(name):
    """Fork a scheduler and return its process id."""
    pid = os.fork()
    if pid == 0:
        random.seed(time.monotonic_ns())
        connected(serve)
        os._exit(0)
    return pid


def in_child(action):
    """Run an action in a child with a separate connection, and return its result."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        content = json.dumps(connected(action)).encode()
        with os.fdopen(write, "wb") as pipe:
            pipe.write(content)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, action
    return json.loads(content)


def connected(action):
    try:
        with mongod.open_client(MONGODB) as client:
            return action(JobStore(client.faults))
    except Exception:
        logging.exception("A child process failed.")
        os._exit(1)


if __name__ == "__main__":
    main()
