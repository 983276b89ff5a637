"""Complete rounds by the CLI, with a scripted annotator on the server."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from cascade.taxonomy import load
from curation.ingest.grouping import default_drive

pytestmark = pytest.mark.slow

CONNECTED = """
import json, sys
from curation.storage.database import connection
from curation.settings import from_environment

connection.connect(from_environment())
import fiftyone as fo
"""
ANSWERS = (
    CONNECTED
    + """

dataset = fo.load_dataset(sys.argv[1])
chosen = dataset.match_tags("round-01")
held = zip(*chosen.values(["id", "oracle.detections.label", "oracle.detections.bounding_box"]))
print(json.dumps({key: list(zip(labels or [], boxes or [])) for key, labels, boxes in held}))
"""
)
LABELED = (
    CONNECTED
    + """

dataset = fo.load_dataset(sys.argv[1])
chosen = dataset.match_tags("round-01")
print(json.dumps({
    "rounds": chosen.values("labeled_round"),
    "labels": [row or [] for row in chosen.values("ground_truth.detections.label")],
    "boxes": [row or [] for row in chosen.values("ground_truth.detections.bounding_box")],
    "ids": chosen.values("id"),
}))
"""
)
BUDGET = 8
SHARED = os.environ.get("CURATION_SHARED")
CLASSES = (
    "Hardhat", "Mask", "NO-Hardhat", "NO-Mask", "NO-Safety Vest", "Person", "Safety Cone",
    "Safety Vest", "machinery", "vehicle",
)  # fmt: skip
CONE = CLASSES.index("Safety Cone")
SUBSET = {"test": (8, 10), "valid": (9, 9), "train": (12, 12)}  # with a cone, and without


def last_line(text):
    return json.loads(text.strip().splitlines()[-1])


def tasks_at(server):
    """Return the tasks of the newest project."""
    project = server.ask("GET", "/api/projects/?page_size=1000")["results"][0]["id"]
    return server.ask("GET", f"/api/tasks/?project={project}&page_size=100&fields=all")["tasks"]


def submit(server, task, rows):
    """Submit relative boxes, rows of (label, (x, y, width, height)), as an annotator would."""
    result = [
        {
            "id": f"r{i}", "type": "rectanglelabels", "from_name": "box", "to_name": "image",
            "value": {
                "x": 100 * x, "y": 100 * y, "width": 100 * w, "height": 100 * h,
                "rotation": 0, "rectanglelabels": [label],
            },
        }
        for i, (label, (x, y, w, h)) in enumerate(rows)
    ]  # fmt: skip
    body = {"result": result, "lead_time": 5.0}
    server.ask("POST", f"/api/tasks/{task['id']}/annotations/", body)


def at(server):
    return {"LABEL_STUDIO_URL": server.url, "LABEL_STUDIO_API_KEY": server.personal_token()}


def push_round(home, server, *command):
    """Run a round until it waits for labels, and return its tasks on the server."""
    waits = home.curate(*command, code=3, **at(server))
    assert f"waits for labels of {BUDGET} chosen samples" in waits.out
    assert f"{server.url}/projects/" in waits.out
    tasks = tasks_at(server)
    assert len(tasks) == BUDGET
    return tasks


def finish_round(home, server, *command):
    """Finish the round, check its record, and return the ground truth by sample."""
    done = home.curate(*command, **at(server))
    assert "Report:" in done.out
    labeled = last_line(home.python(LABELED, command[1]))
    assert labeled["rounds"] == [1] * BUDGET
    (record,) = home.folder.rglob("rounds/round-01/record.json")
    stages = json.loads(record.read_text())["stages"]
    assert list(stages)[-3:] == ["evaluate", "publish", "report"]
    label = stages["label"]["summary"]
    assert (label["labeler"], label["labeled"], label["seconds"]) == (
        "label-studio", BUDGET, 5.0 * BUDGET,
    )  # fmt: skip
    assert stages["train"]["summary"]["examples"] == BUDGET
    rows = zip(labeled["ids"], labeled["labels"], labeled["boxes"], strict=True)
    return {key: list(zip(labels, boxes, strict=True)) for key, labels, boxes in rows}


def expect_same(truth, answers):
    assert truth.keys() == answers.keys()
    for sample_id, drawn in answers.items():
        assert [label for label, _ in truth[sample_id]] == [label for label, _ in drawn]
        boxes = [box for _, box in truth[sample_id]]
        assert boxes == [pytest.approx(box, abs=1e-4) for _, box in drawn]


def test_choose_push_annotate_pull_train_publish(home, label_studio, tmp_path_factory):
    from curation.demo.dataset import write_dataset

    scenes = write_dataset(
        tmp_path_factory.mktemp("scenes") / "scenes",
        n_drives_by_split={"train": 4, "val": 2, "test": 2}, seed=1,
    )  # fmt: skip
    home.curate("ingest", scenes, "--name", "site", "--hold-back")
    command = ("round", "site", "--labeler", "label-studio", "--budget", BUDGET, "--epochs", 1)
    tasks = push_round(home, label_studio, *command)
    answers = last_line(home.python(ANSWERS, "site"))
    for task in tasks:
        submit(label_studio, task, answers[task["data"]["sample_id"]])
    expect_same(finish_round(home, label_studio, *command), answers)
    secret = label_studio.personal_token().encode()
    for root, _, names in os.walk(home.folder):
        for name in names:
            if "/db/" not in f"{root}/":
                with open(os.path.join(root, name), "rb") as file:
                    assert secret not in file.read()


@pytest.mark.skipif(SHARED is None, reason="CURATION_SHARED does not name the real photographs")
def test_complete_round_on_photographs(home, label_studio, tmp_path):
    """The annotator recognizes the displayed image by its content."""
    source = subset(Path(SHARED) / "data" / "construction_site_safety", tmp_path / "photographs")
    home.curate(
        "ingest", source, "--name", "photographs", "--hold-back", "--taxonomy", "construction_site",
        "--names", ",".join(CLASSES),
    )  # fmt: skip
    command = (
        "round",
        "photographs",
        "--labeler",
        "label-studio",
        "--budget",
        BUDGET,
        "--epochs",
        1,
    )
    tasks = push_round(home, label_studio, *command)
    originals = {
        digest(path.read_bytes()): path for path in (source / "images" / "train").iterdir()
    }
    answers = {}
    for task in tasks:
        shown = originals[digest(label_studio.ask("GET", task["data"]["image"]))]
        answers[task["data"]["sample_id"]] = drawn_on(shown)
        submit(label_studio, task, drawn_on(shown))
    assert sum(map(len, answers.values())) > 0
    expect_same(finish_round(home, label_studio, *command), answers)


def subset(source, target):
    """Copy a few photographs of each split, without sources shared by splits."""
    home_of = {}  # split of each drive
    for split, (with_cone, without) in SUBSET.items():
        left = {True: with_cone, False: without}
        for path in sorted((source / "images" / split).iterdir()):
            labels = source / "labels" / split / f"{path.stem}.txt"
            drive, has_cone = default_drive(path), bool((rows_of(labels)[:, 0] == CONE).any())
            if home_of.get(drive, split) != split or not left[has_cone]:
                continue
            home_of[drive] = split
            left[has_cone] -= 1
            for file, kind in ((path, "images"), (labels, "labels")):
                (target / kind / split).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target / kind / split)
        assert not any(left.values()), f"too few photographs in {source}"
    return target


def rows_of(path):
    """Return the rows of a YOLO file: class, center, size."""
    rows = [line.split() for line in path.read_text().splitlines() if line]
    return np.array(rows, float).reshape(-1, 5)


def drawn_on(image):
    """Return the dataset's own boxes, in the classes of the project."""
    taxonomy = load("construction_site")
    rows = rows_of(Path(str(image.with_suffix(".txt")).replace("/images/", "/labels/")))
    return [
        (taxonomy.canonical(CLASSES[int(number)]), [x - w / 2, y - h / 2, w, h])
        for number, x, y, w, h in rows.tolist()
    ]


def digest(content):
    return hashlib.sha256(content).hexdigest()
