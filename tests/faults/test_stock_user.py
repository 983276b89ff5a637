"""A user of plain FiftyOne ranks a dataset of their own: no model runs, their labels stay."""

import json
import uuid

import pytest

pytestmark = pytest.mark.slow

LABELS = """
import json, sys
import fiftyone as fo

def labels_of(dataset):
    kept = ("filepath", "ground_truth", "model_a", "model_b")
    return [{key: one[key] for key in kept} for one in dataset.to_dict()["samples"]]
"""

MAKE = """
def boxes(*found, **more):
    return fo.Detections(detections=[
        fo.Detection(label=label, bounding_box=[x, 0.2, 0.3, 0.4], confidence=p, **more)
        for label, x, p in found
    ])

dataset = fo.Dataset(sys.argv[1], persistent=True)
size = fo.ImageMetadata(width=640, height=480)
truth = fo.Detections(detections=[fo.Detection(label="Cone", bounding_box=[0.1, 0.2, 0.3, 0.4])])
sure, here, there = ("Cone", 0.1, 0.97), ("Cone", 0.1, 0.6), ("barrel", 0.3, 0.6)
dataset.add_samples([
    fo.Sample(filepath=f"/no/such/{name}.jpg", metadata=size, ground_truth=truth,
              model_a=boxes(*a), model_b=boxes(*b))
    for name, a, b in (
        ("agree", [sure], [sure]),
        ("unsure", [here], [sure]),
        ("torn", [sure, there], []),
    )
])
print(json.dumps(labels_of(dataset), default=str))
"""

LOOK = """
dataset = fo.load_dataset(sys.argv[1])
ranked = dataset.sort_by("hardness", reverse=True)
print(json.dumps({
    "ranked": [path.split("/")[-1] for path in ranked.values("filepath")],
    "hardness": ranked.values("hardness"),
    "fields": list(dataset.get_field_schema()),
    "labels": labels_of(dataset),
}, default=str))
dataset.delete()
"""

WITHOUT_MODELS = """
import sys

class NoModel:  # importing an adapter, which is what building a model begins with, is the end
    def find_spec(self, name, *_):
        if name.startswith("cascade.models.") and not name.endswith(".checkpoint"):
            sys.exit(f"{name} was imported")

sys.meta_path.insert(0, NoModel())
from curation.cli import main
sys.argv = ["curate", "score", *sys.argv[1:]]
main()
"""


def test_a_stock_user_ranks_two_prediction_fields(home):
    name = f"mine-{uuid.uuid4().hex[:8]}"  # FiftyOne may attach to a database of the machine
    before = last_line(home.python(LABELS + MAKE, name))
    assert (home.user / ".fiftyone" / "var" / "lib" / "mongo" / "WiredTiger").is_file()
    home.curate("db", "start")  # ours is there, too, and does not hold the dataset

    said = home.python(WITHOUT_MODELS, name, "--members", "model_a,model_b")

    assert "scored: 3" in said
    after = last_line(home.python(LABELS + LOOK, name))
    assert after["ranked"] == ["torn.jpg", "unsure.jpg", "agree.jpg"]
    assert 1 >= after["hardness"][0] > after["hardness"][1] > after["hardness"][2] >= 0
    assert {"hardness_existence", "hardness_margin", "n_voters"} <= set(after["fields"])
    assert after["labels"] == before
    assert not (home.folder / "datasets").exists()


def last_line(printed):
    """Return what a script printed last, as JSON; plain FiftyOne says things before."""
    return json.loads(printed.splitlines()[-1])
