"""A round that is killed goes on where it was, to the same end as one that was not."""

import json
import signal
import time
from contextlib import contextmanager

import gridfs
import pytest

from curation.storage.database import mongod

pytestmark = pytest.mark.slow

PLAN = ("--name", "demo", "--budget", 12, "--epochs", 2, "--seed", 5)
MEMBERS = ("plain", "confused")
PATIENCE_S = 1200

NOT_COMPARED = {
    "_id", "_dataset_id", "dataset_id", "_rand", "created_at", "last_modified_at",  # of FiftyOne
    "seconds", "started", "latency_ms",  # what a clock said
    "run", "costs",  # of the tracking server; of the clock
    "ran", "skipped", "resumed_from",  # what was left to do for this call
    "sample_ids", "drawn",  # ids, packed or hashed
}  # fmt: skip


@pytest.fixture(scope="module")
def rounds(new_home, scenes, manifest, tmp_path_factory):
    """Two homes with the same round: in one it ran through, in one it was killed twice.

    They run side by side, to save time.
    """
    root = tmp_path_factory.mktemp("homes")
    command = ("round", scenes, "--manifest", manifest, *PLAN)
    with new_home(root / "whole") as whole, new_home(root / "killed") as killed:
        began = time.monotonic()
        reference = whole.start("curate", *command)
        kill_in_predict(killed, command, total=len(files(scenes)))
        kill_in_train(killed, command)
        first = folder_of(killed) / "members" / MEMBERS[0]
        fitted = written_at(first)
        killed.curate(*command)
        assert written_at(first) == fitted, "a member whose fit was whole was fitted again"
        assert reference.wait() == 0, reference.err
        yield whole, killed, command, time.monotonic() - began


def kill_in_predict(home, command, *, total):
    run = home.start("curate", *command)
    until(run, lambda: predicted(home, "demo"))
    run.signal(signal.SIGKILL)
    assert 0 < predicted(home, "demo") < total


def kill_in_train(home, command):
    """Kill when the first member's fit is whole and the second's is at its last epoch."""
    run = home.start("curate", *command)
    until(run, lambda: "train  3/4" in run.out)
    run.signal(signal.SIGKILL)
    first, second = (folder_of(home) / "members" / f"{name}.json" for name in MEMBERS)
    assert first.is_file()
    assert not second.exists()


def test_the_same_samples_to_the_last_digit(rounds):
    whole, killed, *_ = rounds
    expected, found = (samples_of(one, "demo") for one in (whole, killed))
    assert list(found) == list(expected)
    for name, row in expected.items():
        assert found[name] == row, name


def test_what_was_chosen_is_labeled(rounds):
    _, killed, *_ = rounds
    chosen = [row for row in samples_of(killed, "demo").values() if "round-01" in row["tags"]]
    assert sorted(row["rank"] for row in chosen) == list(range(1, 13))
    assert [row["labeled_round"] for row in chosen] == [1] * 12


def test_the_same_index_picture_and_facts(rounds):
    whole, killed, *_ = rounds
    assert about(killed, "demo") == about(whole, "demo")


@pytest.mark.parametrize(
    "name", ["record", "evaluation_champion", "evaluation_challenger", "verdict"]
)
def test_the_same_results(rounds, name):
    whole, killed, *_ = rounds
    expected, found = (
        json.loads((folder_of(h) / f"{name}.json").read_text()) for h in (whole, killed)
    )
    with names_of(whole) as theirs, names_of(killed) as ours:
        assert told(found, ours) == told(expected, theirs)


def test_the_same_weights_which_learned_something(rounds):
    whole, killed, *_ = rounds
    for part in ("start", "ensemble"):
        assert tree(folder_of(killed) / part) == tree(folder_of(whole) / part)
    before, after = (folder_of(killed) / p / "members" / MEMBERS[1] for p in ("start", "ensemble"))
    assert tree(before) != tree(after)


def test_once_more_changes_nothing(rounds):
    _, killed, command, took_s = rounds
    before = untouched(killed)
    began = time.monotonic()
    assert "nothing was changed" in killed.curate(*command).out
    assert time.monotonic() - began < took_s / 2
    assert untouched(killed) == before


def test_ctrl_c_and_a_database_that_dies(home, scenes, manifest):
    command = ("predict", scenes, "--manifest", manifest)
    run = home.start("curate", *command)
    until(run, lambda: predicted(home, "scenes"))
    assert run.signal(signal.SIGINT) == 130
    assert run.err.splitlines() == [
        "Interrupted. What was written stays; the same command goes on from here."
    ]
    kept = predicted(home, "scenes")
    assert 0 < kept < len(files(scenes))

    run = home.start("curate", *command)
    until(run, lambda: predicted(home, "scenes") > kept)
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
        assert time.monotonic() < ends, run.out
        time.sleep(0.02)


def files(scenes):
    return list((scenes / "images").iterdir())


def folder_of(home):
    return home.folder / "datasets" / "demo" / "rounds" / "round-01"


def written_at(folder):
    return {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}


def tree(folder):
    """Return the bytes of every file below a folder."""
    found = {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    assert found
    return found


def predicted(home, name):
    """Return how many samples the first member has looked at; 0 while there is no database."""
    if mongod.status(home.settings).uri is None:
        return 0
    with stored(home) as database:
        dataset = database.datasets.find_one({"name": name})
        if dataset is None:
            return 0
        samples = database[dataset["sample_collection_name"]]
        return samples.count_documents({f"{MEMBERS[0]}.fingerprint": {"$exists": True}})


def samples_of(home, name):
    """Return every sample's whole document by file, in their order, without ids and times."""
    with stored(home) as database:
        dataset = database.datasets.find_one({"name": name})
        rows = list(database[dataset["sample_collection_name"]].find())
    return {row["filepath"]: told(row, {}) for row in rows}


def about(home, name):
    """Return what is kept with the dataset: facts, sidebar, similarity index and UMAP picture."""
    with names_of(home, name) as names, stored(home) as database:
        found = database.datasets.find_one({"name": name})
        brain = {}
        for key, one in found["brain_methods"].items():
            run = database.runs.find_one({"_id": one})
            results = gridfs.GridFS(database).get(run["results"]).read()
            brain[key] = [run["config"], json.loads(results)]
        kept = {key: found[key] for key in ("info", "tags", "app_config")}
        return told(json.loads(json.dumps({**kept, "brain": brain}, default=str)), names)


def untouched(home):
    """Return what a call that does nothing must leave as it is."""
    with stored(home) as database:
        dataset = database.datasets.find_one({"name": "demo"})
        rows = database[dataset["sample_collection_name"]].find({}, {"last_modified_at": 1})
        times = [dataset["last_modified_at"], *(row["last_modified_at"] for row in rows)]
    return times, tree(home.folder / "datasets"), (home.folder / "mlflow.db").read_bytes()


@contextmanager
def stored(home):
    """Give the home's database, which runs."""
    port = mongod.recorded_port(home.settings.database_folder)
    with mongod.open_client(mongod.local_uri(port)) as client:
        yield client.fiftyone


@contextmanager
def names_of(home, name="demo"):
    """Give the words that differ between homes, ids and a folder, with what they stand for."""
    with stored(home) as database:
        dataset = database.datasets.find_one({"name": name})
        rows = database[dataset["sample_collection_name"]].find({}, {"filepath": 1})
        vectors = str(home.settings.vectors(name))
        yield {str(row["_id"]): row["filepath"] for row in rows} | {vectors: "vectors"}


def told(content, names):
    """Return the content without what no two runs share; `names` says what words stand for."""
    match content:
        case dict():
            return {k: told(v, names) for k, v in content.items() if k not in NOT_COMPARED}
        case list():
            return [told(one, names) for one in content if not is_of_clock(one)]
        case str():
            return names.get(content, content)
    return content


def is_of_clock(check):
    """Return whether it is a check of the gate on how long something took."""
    return isinstance(check, dict) and check.get("name") in ("latency", "cost")
