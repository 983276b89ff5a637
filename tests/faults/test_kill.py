"""A round that is killed goes on where it was, to the same end as one that was not."""

import base64
import json
import signal
import time
import zlib
from pathlib import Path

import gridfs
import pytest

from curation import mongod
from curation.vectors import Vectors

pytestmark = pytest.mark.slow

PLAN = ("--name", "demo", "--budget", 12, "--epochs", 2, "--seed", 5)
MEMBERS = ("plain", "shaken")
PATIENCE_S = 1200


@pytest.fixture(scope="module")
def rounds(new_home, scenes, manifest, tmp_path_factory):
    """Two homes with the same round: one ran through, one was killed in predict and in train.

    They run side by side, to save time.
    """
    root = tmp_path_factory.mktemp("homes")
    with new_home(root / "whole") as whole, new_home(root / "killed") as killed:
        command = ("round", scenes, "--manifest", manifest, *PLAN)
        reference = whole.start("curate", *command)

        run = killed.start("curate", *command)
        until(run, lambda: 0 < predicted(killed, "demo"))
        assert run.signal(signal.SIGKILL) == -signal.SIGKILL
        assert 0 < predicted(killed, "demo") < len(files(scenes))

        run = killed.start("curate", *command)
        until(run, lambda: "train  3/4" in run.out)
        assert run.signal(signal.SIGKILL) == -signal.SIGKILL
        first, second = (folder_of(killed) / "members" / name for name in MEMBERS)
        assert first.with_suffix(".json").is_file()
        assert not second.with_suffix(".json").exists()
        kept = written_at(first)

        killed.curate(*command)
        assert written_at(first) == kept  # what was fitted is not fitted again
        assert reference.wait() == 0, reference.err
        yield whole, killed, command


def test_the_same_samples_to_the_last_digit(rounds):
    whole, killed, _ = rounds
    expected, found = (samples_of(one, "demo") for one in (whole, killed))
    assert sorted(found) == sorted(expected)
    for name, row in expected.items():
        assert found[name] == row, name
    chosen = [row for row in found.values() if "round-01" in row["tags"]]
    assert sorted(row["rank"] for row in chosen) == list(range(1, 13))
    assert all(row["labeled_round"] == 1 for row in chosen)


def test_the_same_about_the_dataset(rounds):
    whole, killed, _ = rounds
    assert about(killed, "demo") == about(whole, "demo")


def test_the_same_vectors_and_picture(rounds):
    whole, killed, _ = rounds
    assert vectors(killed, "demo") == vectors(whole, "demo")
    assert points(killed, "demo") == points(whole, "demo")


def test_the_same_ensembles_verdict_and_record(rounds):
    whole, killed, _ = rounds
    for name in ("record", "evaluation_champion", "evaluation_challenger", "verdict"):
        expected, found = (
            told(json.loads((folder_of(one) / f"{name}.json").read_text()), one)
            for one in (whole, killed)
        )
        assert found == expected, name
    for part in ("start", "ensemble"):
        assert tree(folder_of(killed) / part) == tree(folder_of(whole) / part)


def test_another_run_changes_nothing(rounds):
    _, killed, command = rounds
    before = state(killed)
    began = time.monotonic()
    done = killed.curate(*command)
    assert "nothing was changed" in done.out
    assert time.monotonic() - began < 0.5 * took(killed)
    assert state(killed) == before


def test_ctrl_c_and_a_database_that_dies(new_home, scenes, manifest, tmp_path):
    command = ("predict", scenes, "--manifest", manifest)
    with new_home(tmp_path / "user") as home:
        run = home.start("curate", *command)
        until(run, lambda: 0 < predicted(home, "scenes"))
        assert run.signal(signal.SIGINT) == 130
        assert run.err.splitlines() == [
            "Interrupted. What was written stays; the same command goes on from here."
        ]
        kept = predicted(home, "scenes")
        assert 0 < kept < len(files(scenes))

        run = home.start("curate", *command)
        until(run, lambda: kept < predicted(home, "scenes"))
        home.kill_database()
        assert run.wait() == 1
        assert len(run.err.splitlines()) == 1, run.err
        assert "database" in run.err

        home.curate(*command)
        for row in samples_of(home, "scenes").values():
            assert all(row[name]["fingerprint"] for name in (*MEMBERS, "consensus"))


def until(run, condition):
    """Wait for a condition while a command runs."""
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert run.is_running, f"It ended too early.\n{run.out}\n{run.err}"
        assert time.monotonic() < ends
        time.sleep(0.02)


def files(scenes):
    return list((scenes / "images").iterdir())


def folder_of(home):
    return home.folder / "datasets" / "demo" / "rounds" / "round-01"


def written_at(checkpoint):
    return {file.name: file.stat().st_mtime_ns for file in checkpoint.iterdir()}


def tree(folder):
    """Return the bytes of every file below a folder."""
    found = {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    assert found
    return found


def database(home):
    """Return a client of the home's database, which runs."""
    port = mongod.recorded_port(home.settings.database_folder)
    return mongod.client_of(mongod.uri_of(port))


def predicted(home, name):
    """Return how many samples the first member has looked at; 0 while there is no database."""
    if mongod.status(home.settings).uri is None:
        return 0
    with database(home) as client:
        dataset = client.fiftyone.datasets.find_one({"name": name})
        if dataset is None:
            return 0
        samples = client.fiftyone[dataset["sample_collection_name"]]
        return samples.count_documents({f"{MEMBERS[0]}.fingerprint": {"$exists": True}})


def samples_of(home, name):
    """Return every sample's document by file, without ids and times."""
    with database(home) as client:
        dataset = client.fiftyone.datasets.find_one({"name": name})
        rows = list(client.fiftyone[dataset["sample_collection_name"]].find())
    return {row["filepath"]: told(row, home) for row in rows}


def about(home, name):
    """Return what the dataset's own document tells, without ids, times and places."""
    with database(home) as client:
        found = client.fiftyone.datasets.find_one({"name": name})
    kept = ("info", "tags", "sample_fields", "app_config", "persistent", "media_type")
    return told({key: found.get(key) for key in kept}, home)


def names_of(home):
    """Return the file of every sample, by its id."""
    with database(home) as client:
        dataset = client.fiftyone.datasets.find_one({"name": "demo"})
        rows = client.fiftyone[dataset["sample_collection_name"]].find({}, {"filepath": 1})
        return {str(row["_id"]): row["filepath"] for row in rows}


def vectors(home, name):
    with database(home) as client:
        note = client.fiftyone.datasets.find_one({"name": name})["info"]["embedder"]
    names = names_of(home)
    ids = sorted(names, key=names.get)
    return Vectors(Path(note["folder"]), note["fingerprint"]).read(ids).tolist()


LEFT_OUT = {
    "_id", "_dataset_id", "created_at", "last_modified_at",  # FiftyOne's own
    "seconds", "started", "latency_ms",  # what a clock said
}  # fmt: skip
