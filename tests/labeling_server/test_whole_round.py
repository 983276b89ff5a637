"""A whole round by the command, with a scripted annotator at the server."""

import json
import os

import pytest

pytestmark = pytest.mark.slow

CONNECTED = """
import json, sys
from curation import database
from curation.settings import from_environment

database.connect(from_environment())
import fiftyone as fo
"""
ANSWERS = (
    CONNECTED
    + """

dataset = fo.load_dataset(sys.argv[1])
chosen = dataset.match_tags("round-01")
held = zip(*chosen.values(["id", "oracle.detections.label", "oracle.detections.bounding_box"]))
print(json.dumps({one: list(zip(labels or [], boxes or [])) for one, labels, boxes in held}))
"""
)
LABELED = (
    CONNECTED
    + """

dataset = fo.load_dataset(sys.argv[1])
chosen = dataset.match_tags("round-01")
print(json.dumps({
    "rounds": chosen.values("labeled_round"),
    "boxes": chosen.values("ground_truth.detections.bounding_box"),
    "ids": chosen.values("id"),
}))
"""
)
BUDGET = 8


def last_line(text):
    return json.loads(text.strip().splitlines()[-1])


def annotate(server, answers):
    """Submit the held-back truth of every task of the newest project, as a person would."""
    project = server.ask("GET", "/api/projects/?page_size=1000")["results"][0]["id"]
    rows = server.ask("GET", f"/api/tasks/?project={project}&page_size=100&fields=all")["tasks"]
    for row in rows:
        sample_id = row["data"]["sample_id"]
        result = [
            {
                "id": f"r{i}", "type": "rectanglelabels", "from_name": "box", "to_name": "image",
                "value": {
                    "x": 100 * x, "y": 100 * y, "width": 100 * w, "height": 100 * h,
                    "rotation": 0, "rectanglelabels": [label],
                },
            }
            for i, (label, (x, y, w, h)) in enumerate(answers[sample_id])
        ]  # fmt: skip
        body = {"result": result, "lead_time": 5.0}
        server.ask("POST", f"/api/tasks/{row['id']}/annotations/", body)
    return len(rows)


def test_choose_push_annotate_pull_train_publish(home, label_studio, tmp_path_factory):
    from curation.demo.dataset import write_dataset

    scenes = write_dataset(
        tmp_path_factory.mktemp("scenes") / "scenes",
        n_drives_by_split={"train": 4, "val": 2, "test": 2}, seed=1,
    )  # fmt: skip
    environment = {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.personal_token(),
    }
    home.curate("ingest", scenes, "--name", "site", "--hold-back")
    command = ("round", "site", "--labeler", "label-studio", "--budget", BUDGET, "--epochs", 1)
    waits = home.curate(*command, code=3, **environment)
    assert f"waits for the labels of {BUDGET} chosen samples" in waits.out
    assert f"{label_studio.url}/projects/" in waits.out

    answers = last_line(home.python(ANSWERS, "site"))
    assert annotate(label_studio, answers) == BUDGET
    done = home.curate(*command, **environment)
    assert "Report:" in done.out
    labeled = last_line(home.python(LABELED, "site"))
    assert labeled["rounds"] == [1] * BUDGET
    for sample_id, boxes in zip(labeled["ids"], labeled["boxes"], strict=True):
        expected = [box for _, box in answers[sample_id]]
        assert boxes == [pytest.approx(box, abs=1e-4) for box in expected]

    (record,) = home.folder.rglob("rounds/round-01/record.json")
    stages = json.loads(record.read_text())["stages"]
    assert list(stages)[-3:] == ["evaluate", "publish", "report"]
    label = stages["label"]["summary"]
    assert (label["labeler"], label["labeled"], label["seconds"]) == (
        "label-studio", BUDGET, 5.0 * BUDGET,
    )  # fmt: skip
    assert stages["train"]["summary"]["examples"] == BUDGET
    secret = environment["LABEL_STUDIO_API_KEY"].encode()
    for root, _, names in os.walk(home.folder):
        for name in names:
            if "/db/" not in f"{root}/":
                with open(os.path.join(root, name), "rb") as file:
                    assert secret not in file.read()
