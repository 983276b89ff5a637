"""The code under test reads, and goes on with, what release 0.1.0 wrote: see `make_data.py`.

The figures are those that release 0.1.0 printed or read itself.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

NAME = "compatibility"
READ = Path(__file__).parent / "read_dataset.py"
FIRST_BATCH = {
    "arm:hard": ["drive0004_002", "drive0005_001", "drive0002_000", "drive0001_000"],
    "arm:random": ["drive0002_002", "drive0003_000"],
    "arm:coverage": ["drive0000_001", "drive0004_000", "drive0001_002", "drive0003_002"],
}
SECOND_BATCH = {"arm:hard": ["drive0002_001", "drive0005_000", "drive0004_001"]}
THIRD_BATCH = {"arm:hard": ["drive0001_001", "drive0003_001", "drive0005_002"]}  # of the new code
CHAMPION, CHALLENGER = "8c459f5f53a56b71", "66383259356006d7"
P_BY_VERSION = {"1": 0.9686338678805971, "2": 0.9666003641229931}  # of drive0010_000.jpg
BOXES_BY_VERSION = {"1": 25, "2": 27}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ultralytics") is None,
        reason="a member of the ensemble needs the extra `ultralytics`",
    ),
]


@pytest.fixture(scope="module")
def content(untouched_home):
    """Return what the code under test and FiftyOne read from the dataset."""
    return json.loads(untouched_home.python(READ, NAME))


def batch_of(content, tag):
    """Return the files of a round by arm, in the order of their ranks."""
    arms = {}
    samples = content["samples"]
    batch = [name for name, row in samples.items() if tag in row["tags"]]
    for name in sorted(batch, key=lambda name: samples[name]["rank"]):
        (arm,) = (word for word in samples[name]["tags"] if word.startswith("arm:"))
        arms.setdefault(arm, []).append(name.removesuffix(".jpg"))
    return arms


def columns_of(table):
    """Return the cells of the rows of a printed table."""
    return [line.split() for line in table.splitlines()]


def test_dataset_is_read_as_written(content, expected):
    assert content == expected


def test_dataset_has_images_by_split(content):
    splits = [row["split"] for row in content["samples"].values()]
    assert {split: splits.count(split) for split in splits} == {"train": 18, "val": 12, "test": 4}
    assert content["files_exist"]


def test_dataset_has_batches_by_arm(content):
    assert batch_of(content, "round-01") == FIRST_BATCH
    assert batch_of(content, "round-02") == SECOND_BATCH


def test_dataset_has_hardness(content):
    hardness = {name: row["hardness"] for name, row in content["samples"].items()}
    assert hardness["drive0002_000.jpg"] == 1.0
    assert hardness["drive0000_000.jpg"] == pytest.approx(1 / 7)
    assert hardness["drive0006_000.jpg"] is None


def test_dataset_has_predictions_with_fingerprints(content):
    row = content["samples"]["drive0000_000.jpg"]
    assert row["detections"] == {
        "ground_truth": None, "oracle": 5, "consensus": 13, "tiny_center": 16, "tiny_rtdetr": 60,
        "tiny_yolo": 7,
    }  # fmt: skip
    assert row["decision"] == ["roadwork", "yes"]
    assert row["fingerprints"] == {
        "consensus": CHALLENGER, "tiny_center": "42aed2d6291b09e8",
        "tiny_rtdetr": "34bf3d2d1e049c2b", "tiny_yolo": "ec2a7a70fe3bd03c",
    }  # fmt: skip


def test_vectors_and_brain_runs_are_read(untouched_home):
    script = """
import json
import curation as cu
dataset = cu.load("compatibility")
sample = dataset.match({"filepath": {"$regex": "drive0000_000"}}).first()
near = dataset.sort_by_similarity(sample.id, brain_key="similarity", k=2).values("filepath")
print(json.dumps([near, len(dataset.load_brain_results("umap").points)]))
"""
    near, points = json.loads(untouched_home.python(script).splitlines()[-1])
    assert [Path(path).stem for path in near] == ["drive0000_000", "drive0000_001"]
    assert points == 34


def test_round_input_is_reproduced(untouched_home):
    script = """
import json
import curation as cu
compared = cu.reproduce(cu.load("compatibility"), 1)
print(json.dumps([compared.identical, compared.images, compared.ensemble]))
"""
    assert json.loads(untouched_home.python(script).splitlines()[-1]) == [True, 26, True]


def test_versions_and_history_are_read(untouched_home):
    script = """
import json
import curation as cu
dataset = cu.load("compatibility")
versions = [(v.version, v.ensemble, list(v.aliases)) for v in cu.versions(dataset)]
events = [(event.kind, event.before, event.after, event.by) for event in cu.history(dataset)]
print(json.dumps([versions, events]))
"""
    versions, events = json.loads(untouched_home.python(script).splitlines()[-1])
    assert versions == [["1", CHAMPION, ["champion"]], ["2", CHALLENGER, []]]
    assert events == [
        ["promote", None, "1", "gate"],
        ["promote", "1", "2", "Ada L."],
        ["rollback", "2", "1", "Ada L."],
    ]


def test_registered_version_is_fetched_and_predicts(untouched_home):
    """As the product fetches it: every hash is checked, then the members are built."""
    answer = json.loads(untouched_home.python(FETCH_AND_PREDICT).splitlines()[-1])
    assert answer["identity"] == CHAMPION
    assert answer["yes"]
    assert answer["n_voters"] == 3
    assert answer["p"] == pytest.approx(P_BY_VERSION["1"], abs=1e-4)


# The one place that imports modules by their path: they have no public door.
FETCH_AND_PREDICT = """
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from cascade.ensemble import Ensemble
from cascade import read
from cascade import Predictor
from curation.settings import from_environment
from curation.tracking import Registry

settings = from_environment()
image = settings.home / "datasets/compatibility/scenes/images/drive0010_000.jpg"
with TemporaryDirectory() as folder:
    registry = Registry.from_settings(settings)
    fetched = registry.download("compatibility", "champion", Path(folder) / "it")
    ensemble = Ensemble.load(fetched)
    (verdict,) = Predictor(ensemble).predict([read(image)])
    print(json.dumps({
        "identity": ensemble.identity, "p": verdict.p, "yes": bool(verdict.yes),
        "n_voters": int(verdict.n_voters),
    }))
"""


@pytest.mark.parametrize("version", ["1", "2"])
def test_registered_version_is_loaded_by_pyfunc(untouched_home, version):
    """The file that MLflow runs is the old one: it imports modules by their old paths.

    These are `cascade.ensemble`, `cascade.errors`, `cascade.images`, `cascade.predictor` and
    `curation.file_hashes`.
    """
    script = f"""
import warnings
warnings.simplefilter("ignore")
import json
import pandas as pd
import mlflow
image = {str(untouched_home.home)!r} + "/datasets/compatibility/scenes/images/drive0010_000.jpg"
model = mlflow.pyfunc.load_model("models:/compatibility/{version}")
table = pd.DataFrame({{"image": [image], "content": [open(image, "rb").read()]}})
by_path = model.predict(table[["image"]]).to_dict("records")[0]
by_content = model.predict(table).to_dict("records")[0]
print(json.dumps([by_path, by_content], default=str))
"""
    by_path, by_content = json.loads(untouched_home.python(script).splitlines()[-1])
    assert by_path == by_content
    assert by_path["yes"] is True
    assert by_path["n_voters"] == 3
    assert by_path["p"] == pytest.approx(P_BY_VERSION[version], abs=1e-4)
    assert len(json.loads(by_path["boxes"])) == BOXES_BY_VERSION[version]


def test_jobs_are_listed(untouched_home):
    rows = columns_of(untouched_home.curate("jobs", "list"))
    nightly = next(row for row in rows if row[:1] == ["nightly"])
    drift = next(row for row in rows if row[:1] == ["drift"])
    assert nightly[1:8] == ["nightly", "30", "2", "*", "*", "*", "Europe/Berlin"]
    assert nightly[-1] == "done"
    assert drift[1:] == ["drift", "every", "21600", "s", "paused"]


def test_job_history_is_read(untouched_home):
    rows = columns_of(untouched_home.curate("jobs", "history", "nightly", "--log"))
    run = next(row for row in rows if row[:1] == ["nightly"])
    assert run[3:5] == ["done", "1"]
    assert any(row[-1].endswith("batch.csv") for row in rows if row)


def test_job_is_exported(untouched_home):
    assert "30 2 * * *" in untouched_home.curate("jobs", "export", "nightly", "--as", "airflow")


def test_finished_round_is_left_as_it_is(old_home, expected):
    printed = old_home.curate("round", NAME, "--budget", 12, "--epochs", 1)
    assert "Round 1 was already complete up to this stage; nothing was changed." in printed
    assert "There is no verdict" in old_home.curate("report", NAME, "--round", 1)
    old_home.curate("choose", NAME, "--budget", 12, "--round", 1)
    assert json.loads(old_home.python(READ, NAME)) == expected


def test_predictions_and_vectors_are_not_made_again(old_home):
    """The fingerprints of the packaged members are those of release 0.1.0."""
    printed = old_home.curate("predict", NAME)
    assert "ran: 0" in printed
    assert "skipped: 102" in printed
    printed = old_home.curate("embed", NAME)
    assert "added: 0" in printed
    assert "skipped: 34" in printed


def test_job_goes_on_after_its_last_run(old_home):
    """The nightly job chooses the next round, from what the last night left."""
    assert "done" in old_home.curate("jobs", "run", "nightly")
    with old_home.database() as database:
        runs = list(database["curation_job_runs"].find({"job": "nightly"}).sort("due", 1))
    assert [run["state"] for run in runs] == ["done", "done"]
    result = runs[-1]["result"]
    assert result["predict"] == {"ran": 0, "failed": 0}
    assert (result["round"], result["choose"]["pool"], result["choose"]["chosen"]) == (3, 5, 3)
    content = json.loads(old_home.python(READ, NAME))
    assert batch_of(content, "round-03") == THIRD_BATCH
    assert batch_of(content, "round-01") == FIRST_BATCH


def test_last_rollback_is_not_done_again(old_home):
    """The journal of moves in the database is read: said twice, a rollback is done once."""
    printed = old_home.curate("rollback", NAME)
    assert "Version 1 was already restored by Ada L." in printed
    signed = ("--by", "Ada L.", "--why", "A test")
    old_home.curate("promote", NAME, 2, *signed, "--against-the-gate")
    assert "Version 1 is champion again" in old_home.curate("rollback", NAME, *signed)


def test_queued_runs_are_executed_by_worker(old_home, expected):
    old_home.curate("worker", "--once")
    with old_home.database() as database:
        runs = list(database["delegated_ops"].find().sort("queued_at", 1))
    assert [run["operator"] for run in runs] == [
        "@curation/rank_samples/score_hardness",
        "@curation/embed_samples/embed_samples",
    ]
    errors = "\n".join(str((run["result"] or {}).get("error")) for run in runs)
    assert [run["run_state"] for run in runs] == ["completed", "completed"], errors
    assert [run["curation"]["attempts"] for run in runs] == [1, 1]
    score, embed = (run["result"]["result"] for run in runs)
    assert (score["ranked"], score["scored"]) == (8, 8)
    assert (embed["added"], embed["skipped"]) == (0, 34)
    content = json.loads(old_home.python(READ, NAME))
    for name, row in expected["samples"].items():
        assert content["samples"][name]["hardness"] == pytest.approx(row["hardness"]), name
