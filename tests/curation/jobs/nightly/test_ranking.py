"""The nightly ranking on a pool that is there, and a folder that new images arrive in."""

import csv
import json
import shutil
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

import synthetic_pool
from PIL import Image

from curation.jobs.catch_up import Entry
from curation.jobs.execution import runner
from curation.jobs.nightly import incremental_hardness, monitors, ranking
from curation.jobs.nightly.ranking import NightlyConfig
from curation.jobs.scheduler import Scheduler
from curation.labeling.export_folder import read_rows
from curation.labeling.files.backend import FileLabeler
from curation.stages.choose import choose
from curation.stages.score import score
from curation.storage import collection, reader, schema
from curation.storage.database import lease
from curation.storage.embeddings import brain_runs
from curation.storage.embeddings.table import VectorTable

pytestmark = pytest.mark.slow

POOL, NEW = 1980, 20
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    return synthetic_pool.ensemble(tmp_path_factory.mktemp("ensemble"))


@pytest.fixture(scope="module")
def grown(database, settings, ensemble):
    """Return a pool that an ensemble is through with."""
    made = synthetic_pool.build("grown", POOL, ensemble, settings)
    yield made
    made.delete()


@pytest.fixture
def pool(grown):
    """Return a copy of it, to change; its vectors are those of the original."""
    made = grown.clone("pool")
    yield made
    made.delete()


@pytest.fixture
def night(pool, ensemble, settings, tmp_path):
    """Return a night over the pool; the labeler is a folder."""
    labeling = tmp_path / "labeling"
    vectors = settings.vectors("pool")
    shutil.rmtree(vectors, ignore_errors=True)
    shutil.copytree(settings.vectors("grown"), vectors)
    pool.info[schema.EMBEDDER_INFO] = {
        **pool.info[schema.EMBEDDER_INFO], "folder": str(vectors),
    }  # fmt: skip
    pool.save()
    return NightlyConfig(
        dataset="pool",
        watched=str(tmp_path / "inbox"),
        taxonomy=ensemble.taxonomy,
        ensemble=lambda _: ensemble,
        labeler=lambda _: FileLabeler(labeling, taxonomy=ensemble.taxonomy, copy_images=False),
        budget=30,
        settings=settings,
        device=CPU,
    )


@pytest.fixture
def pass_night(store, clock, make_job, launchers):
    """Return what lets one night pass, and returns what is on record of it."""

    def make(night, **more):
        if not store.jobs():
            store.add(make_job(every_s=86400, **more))
        looks = Scheduler(
            store,
            launchers["here"](lambda context: ranking.rank(context, night), store, clock),
            clock=clock,
        )
        clock.forward(days=1)
        looks.tick()
        return store.runs("nightly", limit=1)[0]

    return make


def rows(tmp_path, number):
    return [one.sample_id for one in read_rows(tmp_path / "labeling" / f"round-{number:02d}")]


def test_new_samples_are_scored_and_pool_is_ranked(pool, night, pass_night, ensemble, tmp_path):
    synthetic_pool.new_images(tmp_path / "inbox", 1)
    first = pass_night(night)
    assert (first.state, first.result["score"]["scored"]) == ("done", POOL + 1)

    for i in range(NEW):
        shutil.copy(next((tmp_path / "inbox").iterdir()), tmp_path / "inbox" / f"more_{i}.png")
        change(tmp_path / "inbox" / f"more_{i}.png", i)
    run = pass_night(replace(night, most_far=1.0))

    assert run.state == "done", run.reason
    assert run.result["ingest"]["added"] == NEW
    assert run.result["predict"] == {"ran": 2 * NEW, "failed": 0}  # two detectors
    assert run.result["fuse"] == {"fused": NEW}
    assert run.result["embed"] == {"added": NEW, "skipped": POOL + 1, "failed": 0}
    assert run.result["score"]["scored"] == NEW
    assert run.result["score"]["ranked"] == POOL + 1 + NEW

    pool.reload()
    recomputed = pool.clone()
    names = [schema.HARDNESS, *schema.HARDNESS_PARTS, schema.EXPECTED_BOXES, schema.N_VOTERS]
    mine = reader.read_columns(recomputed, [*names, schema.RANK, "tags"])
    recomputed.clear_sample_fields(names)
    score(recomputed, ensemble=ensemble)
    whole = reader.read_columns(recomputed, names)
    assert all(mine[name] == whole[name] for name in names)
    assert len({one for one in whole[schema.HARDNESS] if one is not None}) > POOL / 2

    info = dict(recomputed.info[schema.INFO])
    del info["chosen round-02"]
    recomputed.info[schema.INFO] = info
    recomputed.untag_samples("round-02")
    (pairs,) = night.settings.vectors("pool").glob("alike-*")
    pairs.unlink()  # the pairs that look alike are found recomputed, too
    again = choose(recomputed, round_number=2, budget=30, use_hardness=True)
    assert again.duplicates_dropped > 0
    chosen = reader.read_columns(recomputed, [schema.RANK, "tags"])
    assert again.chosen == 30
    assert chosen[schema.RANK] == mine[schema.RANK]
    assert [set(one) for one in chosen["tags"]] == [set(one) for one in mine["tags"]]
    recomputed.delete()


def test_every_sample_is_pushed_once(night, pass_night, tmp_path):
    synthetic_pool.new_images(tmp_path / "inbox", 1)
    for number in (1, 2, 3):
        run = pass_night(night)
        assert (run.state, run.result["round"]) == ("done", number)
        assert run.result["push"]["pushed"] == 30
    pushed = [one for number in (1, 2, 3) for one in rows(tmp_path, number)]
    assert len(set(pushed)) == 90


def test_batch_is_pushed_once_after_server_outage(
    night, pass_night, store, clock, launchers, webhook, tmp_path
):
    """The labeler is a folder; a file in its place is the server that is away."""
    address, heard = webhook
    synthetic_pool.new_images(tmp_path / "inbox", 1)
    away = tmp_path / "labeling"
    away.write_text("no folder")
    run = pass_night(night, notify=(address,), backoff_s=60)
    assert (run.state, len(run.attempts)) == ("waiting", 1)
    assert "Not a directory" in run.reason or "File exists" in run.reason
    waits = []
    looks = Scheduler(
        store,
        launchers["here"](lambda context: ranking.rank(context, night), store, clock),
        clock=clock,
    )
    for minutes in range(1, 12):
        clock.forward(minutes=1)
        if minutes == 5:
            away.unlink()
        before = len(store.runs("nightly")[0].attempts)
        looks.tick()
        waits += [minutes] * (len(store.runs("nightly")[0].attempts) - before)
    assert waits == [1, 3, 7]  # after one minute, two more, four more
    (run,) = store.runs("nightly")
    assert (run.state, run.result["round"]) == ("done", 1)
    assert run.result["push"]["pushed"] == 30
    assert len(set(rows(tmp_path, 1))) == 30
    assert [(one["event"], one["attempt"]) for one in heard] == [
        ("retry", 1), ("retry", 2), ("retry", 3), ("recovered", 4),
    ]  # fmt: skip
    assert heard[0]["job"] == "nightly"
    assert heard[0]["next_attempt"] == "2027-03-26T12:01:00+00:00"
    assert "the operation is idempotent" in heard[0]["reason"]
    assert heard[-1]["result"]["push"]["pushed"] == 30
    assert run.notices == tuple(
        f"{one} -> 127.0.0.1: delivered" for one in ("retry", "retry", "retry", "recovered")
    )


def test_unpushed_batch_is_pushed_next_night(night, pass_night, tmp_path):
    synthetic_pool.new_images(tmp_path / "inbox", 1)
    away = tmp_path / "labeling"
    away.write_text("no folder")
    assert pass_night(night, retries=0).state == "failed"
    away.unlink()
    run = pass_night(night)
    assert (run.state, run.result["late"], run.result["round"]) == ("done", [1], 2)
    assert len({*rows(tmp_path, 1), *rows(tmp_path, 2)}) == 60
    assert "late" not in pass_night(night).result


def test_few_new_images_are_compared_with_next_ones(pool, night, pass_night, tmp_path):
    here_only(pool)
    inbox = synthetic_pool.new_images(tmp_path / "inbox", 1)
    assert pass_night(night).state == "done"
    for i in range(6):
        shutil.copy(inbox / "new_000000.png", inbox / f"strange_{i}.png")
        change(inbox / f"strange_{i}.png", i)
        run = pass_night(night)
        assert run.state == ("done" if i < 4 else "refused")
    assert "of 6 new images" in run.reason


def test_jobs_of_same_dataset_wait_for_each_other(night, pass_night, store, tmp_path):
    synthetic_pool.new_images(tmp_path / "inbox", 1)
    with (
        lease.hold(store.database, "hand over pool", holder="the other camera", seconds=60),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(ranking, "_MAX_WAIT_S", 0.2)
        run = pass_night(night)
    assert run.state == "waiting"
    assert "the other camera holds the lease" in run.reason
    assert not (tmp_path / "labeling").exists()


def test_drifted_night_is_not_pushed(pool, night, pass_night, store, clock, tmp_path):
    """The reference is in one corner of the space of vectors; the pictures are not."""
    here_only(pool)
    inbox = synthetic_pool.new_images(tmp_path / "inbox", 1)
    assert pass_night(night).state == "done"
    for i in range(10):
        shutil.copy(inbox / "new_000000.png", inbox / f"strange_{i}.png")
        change(inbox / f"strange_{i}.png", i)
    for number in (1, 2):  # a refused night does not become the reference of the next
        run = pass_night(night)
        assert run.state == "refused"
        assert "100% of 10 new images are farther" in run.reason
        assert "--accept-drift" in run.reason
        assert not (tmp_path / "labeling" / f"round-{number + 1:02d}").exists()
    clock.forward(minutes=1)
    store.record("nightly", [Entry(clock(), "due")], scheduled=False, accepted=True)
    accepted = runner.attempt(
        store.job("nightly"), clock(), lambda context: ranking.rank(context, night), store,
        clock=clock,
    )  # fmt: skip
    assert (accepted.state, accepted.result["drift"]["drifted"]) == ("done", True)
    assert pass_night(night).state == "done"


def test_drift_job_pushes_nothing(pool, night, store, clock, make_job, tmp_path):
    here_only(pool)
    job = make_job(kind="drift")

    def look():
        clock.forward(hours=1)
        store.record("nightly", [Entry(clock(), "due")])
        return runner.attempt(
            job,
            clock(),
            lambda context: monitors.monitor_drift(context, looked_at),
            store,
            clock=clock,
        )

    looked_at = replace(night, watched=None)
    assert (look().state, look().result["drift"]) == ("done", None)
    inbox = synthetic_pool.new_images(tmp_path / "inbox", 10)
    looked_at = replace(night, watched=str(inbox))  # brings them in itself
    run = look()
    assert run.state == "refused"
    assert "100% of 10 new images" in run.reason
    assert not (tmp_path / "labeling").exists()


def test_night_writes_batch_and_result(pool, night, pass_night, tmp_path):
    synthetic_pool.new_images(tmp_path / "inbox", 1)
    run = pass_night(night)
    result, batch = map(Path, run.result["artifacts"])
    assert json.loads(result.read_text())["push"]["pushed"] == 30
    rows = list(csv.DictReader(batch.read_text().splitlines()))
    assert [int(row[schema.RANK]) for row in rows] == list(range(1, 31))
    chosen = pool.match_tags("round-01").sort_by(schema.RANK)
    assert [row["filepath"] for row in rows] == chosen.values("filepath")
    assert all("round-01" in row["tags"] and row[schema.CHOSEN_BECAUSE] for row in rows)
    assert f"{run.due:%Y-%m-%d}" in str(batch)


def test_bucket_is_ingested(night, pass_night, tmp_path):
    there = synthetic_pool.new_images(tmp_path / "inbox", 2)
    run = pass_night(replace(night, watched=there.as_uri()))
    assert run.state == "done", run.reason
    assert (run.result["ingest"]["fetched"], run.result["ingest"]["added"]) == (2, 2)
    again = pass_night(replace(night, watched=there.as_uri()))
    assert (again.result["ingest"]["fetched"], again.result["ingest"]["added"]) == (0, 0)


def test_missing_watched_folder_is_retried(night, pass_night):
    run = pass_night(night)
    assert run.state == "waiting"
    assert "Mount it, or change" in run.reason


def test_changed_ensemble_scores_whole_pool(pool, ensemble, store):
    assert incremental_hardness.rerank(pool, ensemble, store.database).scored == POOL
    assert incremental_hardness.rerank(pool, ensemble, store.database).scored == 0
    calmer = replace(ensemble.calibration, silence=dict.fromkeys(ensemble.detectors, 0.3))
    other = ensemble.with_calibration(calmer)
    assert incremental_hardness.rerank(pool, other, store.database).scored == POOL


def here_only(pool):
    """Put all vectors of the pool near one direction."""
    note = pool.info[schema.EMBEDDER_INFO]
    ids, _ = collection.ids_and_paths(pool)
    rng = np.random.default_rng(5)
    near = rng.normal(size=(len(ids), synthetic_pool.DIMENSIONS)).astype(np.float32) * 0.001
    near[:, 0] += 1.0
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    VectorTable(Path(note["folder"]), note["fingerprint"]).add(ids, near)
    assert np.allclose(brain_runs.read_vectors(pool, ids[:1])[0], near[0])


def change(path, seed):
    """Make a picture another one."""
    pixels = np.random.default_rng(100 + seed).integers(0, 255, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).resize((96, 72)).save(path)


@pytest.fixture
def webhook():
    """Return an address that keeps what is posted there, and what it jobs."""
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
