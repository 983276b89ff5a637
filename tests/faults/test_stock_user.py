"""A user of plain FiftyOne ranks an existing dataset: no model runs, and labels stay."""

import json
import uuid

import pytest

pytestmark = pytest.mark.slow

LABELS = """
import json, sys
import fiftyone as fo

def labels_of(dataset):
    fields = ("filepath", "ground_truth", "model_a", "model_b")
    return [{key: sample[key] for key in fields} for sample in dataset.to_dict()["samples"]]
"""

MAKE = """
def boxes(*rows, **options):
    return fo.Detections(detections=[
        fo.Detection(label=label, bounding_box=[x, 0.2, 0.3, 0.4], confidence=p, **options)
        for label, x, p in rows
    ])

dataset = fo.Dataset(sys.argv[1], persistent=True)
size = fo.ImageMetadata(width=640, height=480)
truth = fo.Detections(detections=[fo.Detection(label="Cone", bounding_box=[0.1, 0.2, 0.3, 0.4])])
sure, doubtful, other = ("Cone", 0.1, 0.97), ("Cone", 0.1, 0.6), ("barrel", 0.3, 0.6)
dataset.add_samples([
    fo.Sample(filepath=f"/no/such/{name}.jpg", metadata=size, ground_truth=truth,
              model_a=boxes(*a), model_b=boxes(*b))
    for name, a, b in (
        ("agree", [sure], [sure]),
        ("unsure", [doubtful], [sure]),
        ("torn", [sure, other], []),
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

class NoModel:  # building a model starts with the import of an adapter
    def find_spec(self, name, *_):
        if name.startswith("cascade.models.") and not name.endswith(".checkpoint"):
            sys.exit(f"{name} was imported")

sys.meta_path.insert(0, NoModel())
from curation.cli import main
sys.argv = ["curate", "score", *sys.argv[1:]]
main()
"""


def test_user_of_plain_fiftyone_ranks_two_prediction_fields(home):
    name = f"mine-{uuid.uuid4().hex[:8]}"  # FiftyOne may attach to a database of the machine
    before = last_line(home.python(LABELS + MAKE, name))
    assert (home.user / ".fiftyone" / "var" / "lib" / "mongo" / "WiredTiger").is_file()
    home.curate("db", "start")  # our database exists, too, without the dataset

    output = home.python(WITHOUT_MODELS, name, "--members", "model_a,model_b")

    assert "scored: 3" in output
    after = last_line(home.python(LABELS + LOOK, name))
    assert after["ranked"] == ["torn.jpg", "unsure.jpg", "agree.jpg"]
    assert 1 >= after["hardness"][0] > after["hardness"][1] > after["hardness"][2] >= 0
    assert {"hardness_existence", "hardness_margin", "n_voters"} <= set(after["fields"])
    assert after["labels"] == before
    assert not (home.folder / "datasets").exists()


def last_line(output):
    """Return the last printed line, parsed as JSON; plain FiftyOne prints other lines before."""
    return json.loads(output.splitlines()[-1])
