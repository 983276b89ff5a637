"""A killed round resumes, and ends like an uninterrupted one."""

import json
import re
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
    "seconds", "started", "latency_ms",  # times
    "run", "costs",  # of the tracking server; times
    "ran", "skipped", "resumed_from",  # work of this call
    "sample_ids", "drawn",  # ids, packed or hashed
}  # fmt: skip


@pytest.fixture(scope="module")
def rounds(new_home, scenes, manifest, tmp_path_factory):
    """Two homes with the same round, which was killed twice in the second home.

    They run concurrently to save time.
    """
    root = tmp_path_factory.mktemp("homes")
    command = ("round", scenes, "--manifest", manifest, *PLAN)
    with new_home(root / "reference") as reference, new_home(root / "killed") as killed:
        start_s = time.monotonic()
        uninterrupted = reference.start("curate", *command)
        kill_in_predict(killed, command, total=len(files(scenes)))
        kill_in_train(killed, command)
        first = folder_of(killed) / "members" / MEMBERS[0]
        times = written_at(first)
        killed.curate(*command)
        assert written_at(first) == times, "a member with a complete fit was fitted again"
        assert uninterrupted.wait() == 0, uninterrupted.err
        yield reference, killed, command, time.monotonic() - start_s


def kill_in_predict(home, command, *, total):
    run = home.start("curate", *command)
    until(run, lambda: predicted(home, "demo"))
    run.signal(signal.SIGKILL)
    assert 0 < predicted(home, "demo") < total


def kill_in_train(home, command):
    """Kill after the first member's fit, during the last epoch of the second."""
    run = home.start("curate", *command)
    until(run, lambda: "train  3/4" in run.out)
    run.signal(signal.SIGKILL)
    first, second = (folder_of(home) / "members" / f"{name}.json" for name in MEMBERS)
    assert first.is_file()
    assert not second.exists()


def test_samples_are_identical(rounds):
    reference, killed, *_ = rounds
    expected, actual = (samples_of(home, "demo") for home in (reference, killed))
    assert list(actual) == list(expected)
    for name, row in expected.items():
        assert actual[name] == row, name


def test_chosen_samples_are_labeled(rounds):
    _, killed, *_ = rounds
    chosen = [row for row in samples_of(killed, "demo").values() if "round-01" in row["tags"]]
    assert sorted(row["rank"] for row in chosen) == list(range(1, 13))
    assert [row["labeled_round"] for row in chosen] == [1] * 12


def test_index_plot_and_facts_are_identical(rounds):
    reference, killed, *_ = rounds
    assert about(killed, "demo") == about(reference, "demo")


@pytest.mark.parametrize(
    "name", ["record", "evaluation_champion", "evaluation_challenger", "verdict"]
)
def test_results_are_identical(rounds, name):
    reference, killed, *_ = rounds
    expected, actual = (
        json.loads((folder_of(home) / f"{name}.json").read_text()) for home in (reference, killed)
    )
    with names_of(reference) as theirs, names_of(killed) as ours:
        assert comparable(actual, ours) == comparable(expected, theirs)


def test_weights_are_identical_and_trained(rounds):
    reference, killed, *_ = rounds
    for part in ("start", "ensemble"):
        assert tree(folder_of(killed) / part) == tree(folder_of(reference) / part)
    before, after = (folder_of(killed) / p / "members" / MEMBERS[1] for p in ("start", "ensemble"))
    assert tree(before) != tree(after)


def test_repeated_command_changes_nothing(rounds):
    _, killed, command, duration_s = rounds
    before = untouched(killed)
    start_s = time.monotonic()
    assert "nothing was changed" in killed.curate(*command).out
    assert time.monotonic() - start_s < duration_s / 2
    assert untouched(killed) == before


def test_predict_resumes_after_ctrl_c_and_database_crash(home, scenes, manifest):
    command = ("predict", scenes, "--manifest", manifest)
    run = home.start("curate", *command)
    until(run, lambda: predicted(home, "scenes"))
    assert run.signal(signal.SIGINT) == 130
    assert run.err.splitlines() == [
        "Interrupted. Run the same command again to continue from here."
    ]
    count = predicted(home, "scenes")
    assert 0 < count < len(files(scenes))

    run = home.start("curate", *command)
    until(run, lambda: predicted(home, "scenes") > count)
    home.kill_database()
    assert run.wait() == 1
    assert len(run.err.splitlines()) == 1, run.err
    assert "database" in run.err

    home.curate(*command)
    for row in samples_of(home, "scenes").values():
        assert all(row[name]["fingerprint"] for name in (*MEMBERS, "consensus"))


def until(run, condition):
    """Wait for a condition while a command runs."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert run.is_running, f"It ended too early.\n{run.out}\n{run.err}"
        assert time.monotonic() < deadline, run.out
        time.sleep(0.02)


def files(scenes):
    return list((scenes / "images").iterdir())


def folder_of(home):
    return home.folder / "datasets" / "demo" / "rounds" / "round-01"


def written_at(folder):
    return {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}


def tree(folder):
    """Return the bytes of every file below a folder."""
    files = {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    assert files
    return files


def predicted(home, name):
    """Return the number of samples with predictions of the first member; 0 without a database."""
    if mongod.status(home.settings).uri is None:
        return 0
    with stored(home) as database:
        dataset = database.datasets.find_one({"name": name})
        if dataset is None:
            return 0
        samples = database[dataset["sample_collection_name"]]
        return samples.count_documents({f"{MEMBERS[0]}.fingerprint": {"$exists": True}})


def samples_of(home, name):
    """Return every sample's document by file, in order, without ids and times."""
    with stored(home) as database:
        dataset = database.datasets.find_one({"name": name})
        rows = list(database[dataset["sample_collection_name"]].find())
    return {row["filepath"]: comparable(row, {}) for row in rows}


def about(home, name):
    """Return the dataset's metadata: facts, sidebar, similarity index and UMAP plot."""
    with names_of(home, name) as names, stored(home) as database:
        dataset = database.datasets.find_one({"name": name})
        brain = {}
        for key, run_id in dataset["brain_methods"].items():
            run = database.runs.find_one({"_id": run_id})
            results = gridfs.GridFS(database).get(run["results"]).read()
            brain[key] = [run["config"], json.loads(results)]
        metadata = {key: dataset[key] for key in ("info", "tags", "app_config")}
        text = json.dumps({**metadata, "brain": brain}, default=str)
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+", "TIME", text)  # when figures were cached
        return comparable(json.loads(text), names)


def untouched(home):
    """Return the state that a call without work must not change."""
    with stored(home) as database:
        dataset = database.datasets.find_one({"name": "demo"})
        rows = database[dataset["sample_collection_name"]].find({}, {"last_modified_at": 1})
        times = [dataset["last_modified_at"], *(row["last_modified_at"] for row in rows)]
    return times, tree(home.folder / "datasets"), (home.folder / "mlflow.db").read_bytes()


@contextmanager
def stored(home):
    """Yield the home's running database."""
    port = mongod.recorded_port(home.settings.database_folder)
    with mongod.open_client(mongod.local_uri(port)) as client:
        yield client.fiftyone


@contextmanager
def names_of(home, name="demo"):
    """Yield a mapping of the texts that differ between homes, ids and a folder, to placeholders."""
    with stored(home) as database:
        dataset = database.datasets.find_one({"name": name})
        rows = database[dataset["sample_collection_name"]].find({}, {"filepath": 1})
        vectors = str(home.settings.vectors(name))
        yield {str(row["_id"]): row["filepath"] for row in rows} | {vectors: "vectors"}


def comparable(content, names):
    """Return the content without values that differ between runs, with `names` replaced."""
    match content:
        case dict():
            return {k: comparable(v, names) for k, v in content.items() if k not in NOT_COMPARED}
        case list():
            return [comparable(item, names) for item in content if not is_timing(item)]
        case str():
            return names.get(content, content)
    return content


def is_timing(check):
    """Return whether this is a check of the gate on a duration."""
    return isinstance(check, dict) and check.get("name") in ("latency", "cost")
