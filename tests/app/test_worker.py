"""Queued operations in real processes: our worker, FiftyOne's, cancelled, killed, concurrent."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from curation.worker import run_history

ROOT = Path(__file__).parents[2]
LEASE_S = 6.0
PATIENCE_S = 240.0

# An operator whose duration the test chooses. It records every step with its process, which would
# reveal two processes running one job.
DEFINITION = """
name: "@test/take_steps"
fiftyone: {version: ">=1.22,<2"}
operators: [take_steps]
"""
PLUGIN = """
import os, time
import fiftyone.core.odm as odm
from curation.app.operators.base import CurationOperator, operator_config
from curation.app.operators.execution import Outcome

class TakeSteps(CurationOperator):
    config = operator_config(
        name="take_steps", label="Take steps", description="Take steps", icon="x", risk_level="LOW"
    )

    def run(self, ctx, stage_progress):
        log, p = odm.get_db_conn()["steps_of_tests"], ctx.params
        report = stage_progress("walk")
        for step in range(p["steps"]):
            log.insert_one({"job": p["job"], "step": step, "pid": os.getpid()})
            print(f"step {step} of {p['job']}")
            report(step + 1, p["steps"])
            time.sleep(p.get("pause", 0.0))
        if p.get("fail"):
            raise ValueError("the last step was wrong")
        return Outcome(f"{p['job']} has walked.", {"pid": os.getpid()}, wrote=False)

def register(plugin):
    plugin.register(TakeSteps)
"""


# A batch size of 1 writes often, which leaves partial results to continue from.
ONE_BY_ONE = """
name: one_by_one
members:
  - {name: tiny_center, tier: detection, adapter: center_point, batch_size: 1,
     source: "package:tiny_center", license: Apache-2.0}
"""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """A plugins folder with our plugins and the operator above."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "ours").symlink_to(ROOT / "plugins", target_is_directory=True)
    (folder / "take_steps").mkdir()
    (folder / "take_steps" / "fiftyone.yml").write_text(DEFINITION)
    (folder / "take_steps" / "__init__.py").write_text(PLUGIN)
    return folder


@pytest.fixture
def queue(plugins, scenes, monkeypatch):
    """Return `queue(job, steps=..., ...)`, which queues the operator and returns the run's id."""
    import fiftyone as fo
    import fiftyone.operators as foo

    monkeypatch.setattr(fo.config, "plugins_dir", str(plugins))

    def put(job, operator="@test/take_steps/take_steps", **params):
        run_params = {"job": job, **params} if operator.startswith("@test") else params
        with ThreadPoolExecutor(1) as executor:  # a browser's event loop may run in this thread
            done = executor.submit(
                foo.execute_operator,
                operator, dataset=scenes, params=run_params, request_delegation=True,
            ).result()  # fmt: skip
        return str(done.result["id"])

    yield put
    recorded_steps().drop()


@pytest.fixture
def ours(processes, plugins):
    """Return `ours(*options)`, which starts `curate worker`."""

    def start(*options: object) -> Any:
        return processes.start(
            "curate", "worker", "--lease", LEASE_S, "--grace", 3, *options,
            FIFTYONE_PLUGINS_DIR=plugins,
        )  # fmt: skip

    return start


def recorded_steps():
    import fiftyone.core.odm as foo

    return foo.get_db_conn()["steps_of_tests"]


def steps_of(job):
    return [
        (step["step"], step["pid"]) for step in recorded_steps().find({"job": job}).sort("_id", 1)
    ]


def state(run):
    return run_history.get_run(run).state


def test_our_worker_runs_oldest_first_in_one_process_with_progress(queue, ours, until):
    first, second, third = (queue(f"job {n}", steps=n + 2) for n in range(3))
    broken = queue("broken", steps=1, fail=True)
    waiting = run_history.list_runs()
    assert [run.id for run in waiting if run.state == "queued"][:4] == [
        first,
        second,
        third,
        broken,
    ]
    assert [run.place for run in waiting[:4]] == [1, 2, 3, 4]

    process = ours("--once")
    assert process.wait(PATIENCE_S) == 0
    done = [run_history.get_run(run) for run in (first, second, third)]
    assert [run.state for run in done] == ["done"] * 3
    assert done[0].ended_at <= done[1].started_at <= done[1].ended_at <= done[2].started_at
    pids = {run_history.get_result(run)["pid"] for run in (first, second, third)}
    assert len(pids) == 1, "one warm process"
    assert (done[0].progress, done[0].note, done[0].attempts) == (1.0, "walk: 2 of 2", 1)
    assert "step 1 of job 0" in run_history.read_log(first)
    assert "step 1 of job 1" not in run_history.read_log(first)

    failed = run_history.get_run(broken)
    assert (failed.state, failed.error) == ("failed", "ValueError: the last step was wrong")
    assert "Traceback" in run_history.read_log(broken)


def test_cancelled_run_is_run_again(queue, ours, until, processes):
    long, after = queue("long", steps=600, pause=0.1), queue("after", steps=1)
    unwanted = queue("unwanted", steps=1)
    assert run_history.cancel(unwanted).state == "cancelled"
    worker = ours()
    until(lambda: len(steps_of("long")) > 5, within_s=PATIENCE_S)
    moved = {run_history.get_run(long).progress}
    until(lambda: moved.add(run_history.get_run(long).progress) or len(moved) > 2, within_s=30)
    assert sorted(moved) == sorted(moved, key=float), "progress moves"
    assert run_history.cancel(long).state == "cancelling"
    until(lambda: state(long) == "cancelled", within_s=20)
    until(lambda: state(after) == "done", within_s=60)
    assert steps_of("unwanted") == []
    assert len(steps_of("long")) < 600

    again = run_history.rerun(unwanted)
    until(lambda: state(again) == "done", within_s=60)
    assert [step for step, _ in steps_of("unwanted")] == [0]
    assert steps_of("after")[0][1] == steps_of("unwanted")[0][1] == steps_of("long")[0][1], "warm"
    assert processes.stop(worker, signal.SIGTERM) == 0


def test_unresponsive_run_is_ended_with_its_process(queue, ours, until):
    deaf, after = queue("deaf", steps=1, pause=600), queue("after", steps=1)
    ours()
    until(lambda: steps_of("deaf"), within_s=PATIENCE_S)
    run_history.cancel(deaf)
    until(lambda: state(deaf) == "cancelled", within_s=30)
    until(lambda: state(after) == "done", within_s=120)
    assert steps_of("after")[0][1] != steps_of("deaf")[0][1], "another process took over"


def test_stopped_worker_releases_its_run(queue, ours, until, processes):
    run = queue("stopped", steps=600, pause=0.1)
    worker = ours()
    until(lambda: steps_of("stopped"), within_s=PATIENCE_S)
    assert processes.stop(worker, signal.SIGTERM) == 0
    assert (state(run), run_history.get_run(run).attempts) == ("queued", 0)
    run_history.cancel(run)


def test_run_of_killed_worker_is_requeued_and_continued(queue, ours, until, scenes, tmp_path):
    """One of two workers is killed while predicting; the other continues from its results."""
    manifest = tmp_path / "one_by_one.yaml"
    manifest.write_text(ONE_BY_ONE)
    hello = [queue(f"hello {n}", steps=1, pause=4.0) for n in range(2)]
    ours(), ours()
    until(lambda: all(state(run) == "done" for run in hello), within_s=PATIENCE_S)
    assert len({steps_of(f"hello {n}")[0][1] for n in range(2)}) == 2, "both workers are running"
    run = queue("", "@curation/predict_cascade/predict_cascade", manifest=str(manifest))

    def written():
        scenes.reload()
        is_declared = scenes.get_field("tiny_center.fingerprint") is not None
        return (
            scenes.count("tiny_center.fingerprint") if is_declared else 0
        ) or run_history.get_run(run).is_finished

    until(written, within_s=PATIENCE_S, saying=lambda: run_history.read_log(run))
    victim = process_of(run)
    os.kill(victim, signal.SIGKILL)
    assert 0 < scenes.count("tiny_center.fingerprint") < len(scenes), "too late to kill it"
    until(
        lambda: state(run) == "queued" or run_history.get_run(run).attempts == 2,
        within_s=LEASE_S + 3.0,
    )
    until(
        lambda: state(run) == "done", within_s=PATIENCE_S, saying=lambda: run_history.read_log(run)
    )
    assert (run_history.get_run(run).attempts, process_of(run) == victim) == (2, False)
    result = run_history.get_result(run)
    assert result["skipped"] > 0, "earlier predictions stay"
    assert result["ran"] + result["skipped"] == len(scenes)
    assert None not in scenes.values("consensus.detections")
    log = run_history.read_log(run)
    assert "Attempt 1" in log
    assert "Attempt 2" in log


def process_of(run):
    """Return the current or latest process of a run."""
    return int(run_history.get_run(run).worker.split(":")[1].split()[0])


def test_processes_end_with_their_command(queue, ours, until, processes):
    """A killed command cannot stop them; the run is requeued nevertheless."""
    run = queue("orphaned", steps=600, pause=0.1)
    worker = ours()
    until(lambda: steps_of("orphaned"), within_s=PATIENCE_S)
    process = process_of(run)
    processes.stop(worker, signal.SIGKILL)
    until(lambda: state(run) == "queued", within_s=LEASE_S + 3.0)
    until(lambda: not Path(f"/proc/{process}").exists(), within_s=10)
    run_history.cancel(run)


def test_two_workers_run_each_job_once(queue, ours, until):
    jobs = {f"job {n}": queue(f"job {n}", steps=4, pause=0.2) for n in range(10)}
    workers = [ours("--once"), ours("--once")]
    assert [worker.wait(PATIENCE_S) for worker in workers] == [0, 0]
    assert {state(run) for run in jobs.values()} == {"done"}
    for job in jobs:
        steps = steps_of(job)
        assert [step for step, _ in steps] == [0, 1, 2, 3], "each step once, in order"
        assert len({pid for _, pid in steps}) == 1


def test_worker_of_fiftyone_runs_our_operators(queue, processes, plugins, until):
    """`fiftyone delegated launch` is cancelled like our worker, at the next step."""
    long, short = queue("long", steps=600, pause=0.1), queue("short", steps=3)
    stock = processes.start("fiftyone", "delegated", "launch", FIFTYONE_PLUGINS_DIR=plugins)
    until(
        lambda: state(short) == "done", within_s=PATIENCE_S, saying=lambda: processes.log_of(stock)
    )  # it runs the newest first, unlike our worker
    until(lambda: len(steps_of("long")) > 5, within_s=60)
    assert run_history.get_run(long).worker == ""
    assert run_history.cancel(long).state == "cancelled"
    n = len(steps_of("long"))
    processes.stop(stock)
    assert n < 600
    assert state(long) == "cancelled"


def test_worker_without_database_is_an_error(processes):
    worker = processes.start(
        "curate", "worker", "--once", FIFTYONE_DATABASE_URI="mongodb://127.0.0.1:1"
    )
    assert worker.wait(PATIENCE_S) == 1
    assert "No MongoDB answers" in processes.log_of(worker)
