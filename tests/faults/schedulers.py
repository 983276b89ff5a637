"""Run by `test_jobs.py`: two schedulers on one database, killed at random, 50 times.

    python schedulers.py FOLDER MONGODB SEED

A night takes a second. Its work is small and has every step of the real one: it decides on a
round, chooses samples of a pool, and hands them to a real labeler, with pauses in between for
the kills to fall into.
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
from curation.jobs.store import History
from curation.labeling.export_folder import read_rows
from curation.labeling.files.backend import Files
from curation.labeling.protocol import Task
from curation.storage.database import mongod
from curation.storage.database.lease import LeaseError

FOLDER, MONGODB, SEED = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
KILLS, A_NIGHT, POOL = 50, 3, 3000
CLASSES = taxonomy.load("roadwork_core")


def main():
    chance = random.Random(SEED)
    in_child(set_up)
    began = time.monotonic()
    running = {name: start(name) for name in "ab"}
    seen = {}
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
    seen = in_child(look)
    print(json.dumps({"seconds": time.monotonic() - began, **seen}))  # noqa: T201


def set_up(history):
    history.prepare()
    history.database.pool.insert_many(
        [{"_id": f"sample{i:05d}", "round": None} for i in range(POOL)]
    )
    now = datetime.now(UTC).replace(microsecond=0)
    history.add(Job("nightly", "nightly", now, every_s=1, retries=8, backoff_s=0.1, catch_up="all"))


def serve(history):
    """Be a scheduler until somebody kills it."""
    Scheduler(history, Here(history)).serve(stop=lambda: False, every_s=0.05)


class Here:
    """Makes each attempt in the scheduler's own process, so that both die together."""

    def __init__(self, history):
        self._history = history

    def launch(self, job, run):
        with suppress(LeaseError):  # the other one was quicker
            runner.attempt(job, run.due, work, self._history, lease_s=3)

    def is_busy(self, job):
        return False


def work(context):
    """Choose and push as a night does."""
    pool = context.history.database.pool
    pause()
    if "round" not in context.facts:
        last = pool.find_one({"round": {"$ne": None}}, sort=[("round", -1)])
        context.keep(round=1 + (last["round"] if last else 0))
    number = context.facts["round"]
    pause()
    while (there := pool.count_documents({"round": number})) < A_NIGHT:
        pool.find_one_and_update({"round": None}, {"$set": {"round": number}})
        pause()
    chosen = [one["_id"] for one in pool.find({"round": number}).sort("_id", 1)]
    context.expect_alone()
    result = labeler().push([task(one, number, i) for i, one in enumerate(chosen, start=1)])
    with (FOLDER / "pushed.jsonl").open("a") as file:
        line = {"round": number, "pushed": result.pushed, "existing": result.existing}
        file.write(json.dumps(line) + "\n")
    pause()
    return {"round": number, "chosen": chosen, "there": there}


def labeler():
    return Files(FOLDER / "labeling", taxonomy=CLASSES, copy_images=False, show_predictions=False)


def task(sample, number, rank):
    nothing = Detections.empty(CLASSES.names)
    return Task(sample, f"/{sample}.jpg", 64, 48, number, rank, "hard", None, "", nothing)


def pause():
    time.sleep(random.uniform(0, 0.16))


def wait_until_quiet(history):
    """Wait until the schedulers have caught up."""
    ends = time.monotonic() + 40
    while history.unfinished("nightly") and time.monotonic() < ends:
        time.sleep(0.02)


def look(history):
    runs = history.runs("nightly")[::-1]
    rounds = sorted((FOLDER / "labeling").glob("round-*"))
    return {
        "created": history.job("nightly").created.timestamp(),
        "runs": [
            {
                "due": one.due.timestamp(), "state": one.state, "reason": one.reason,
                "attempts": [a.outcome for a in one.attempts],
                "round": one.result.get("round"), "chosen": one.result.get("chosen"),
            }
            for one in runs
        ],
        "rows": {one.name: [row.sample_id for row in read_rows(one)] for one in rounds},
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


def in_child(do):
    """Do something with a connection that no later child inherits; return what it returns."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        content = json.dumps(connected(do)).encode()
        with os.fdopen(write, "wb") as pipe:
            pipe.write(content)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, do
    return json.loads(content)


def connected(do):
    try:
        with mongod.open_client(MONGODB) as client:
            return do(History(client.faults))
    except Exception:
        logging.exception("A child ended.")
        os._exit(1)


if __name__ == "__main__":
    main()
