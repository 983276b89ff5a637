import io

import numpy as np
import pytest
from PIL import Image

from cascade import taxonomy
from cascade.predictions import Detections
from curation.settings import Settings
from curation.stages.report import report, to_terminal
from curation.storage import collection, conversions, rounds, schema

ROADWORK = taxonomy.load("roadwork")


@pytest.fixture
def home(tmp_path):
    return Settings(home=tmp_path / "home", database_uri=None, tracking_uri="")


@pytest.fixture
def ranked(dataset, tmp_path):
    """Return a dataset of twelve samples that was predicted, ranked and chosen from."""
    import fiftyone as fo
    import fiftyone.brain as fob

    schema.declare(dataset, ROADWORK, ["member"])
    dataset.info[schema.INFO] = {"taxonomy": ROADWORK.to_yaml()}
    samples = []
    for i in range(12):
        path = tmp_path / f"image{i:02d}.jpg"
        Image.new("RGB", (64, 48), (20 * i, 90, 90)).save(path)
        sample = fo.Sample(filepath=str(path), split="test" if i > 9 else "train")
        sample[schema.HARDNESS] = i / 12 if i < 10 else None
        sample["roadwork"] = fo.Classification(label="yes" if i % 2 else "no", confidence=0.8)
        if i < 4:
            sample.tags = ["round-01", "arm:random" if i == 0 else "arm:hard"]
            sample[schema.RANK] = 4 - i
            sample[schema.CHOSEN_BECAUSE] = f"reason <{i}>"
        samples.append(sample)
    dataset.add_samples(samples, progress=False)
    box = Detections(
        boxes_xyxy=np.array([[0.1, 0.1, 0.5, 0.5]], np.float32),
        scores=np.array([0.9], np.float32),
        class_ids=np.array([0]),
        classes=ROADWORK.names,
    )
    ids, _ = collection.ids_and_paths(dataset)
    detections = conversions.raw_detections(box, scored=True)
    update = {"member": detections, schema.CONSENSUS: detections}
    collection.write_documents(dataset, dict.fromkeys(ids[:8], update))
    fob.compute_visualization(
        dataset, points=np.arange(24.0).reshape(12, 2), brain_key=schema.UMAP, progress=False
    )
    dataset.reload()
    return dataset


def this_round(dataset, home, number=1):
    return rounds.get_round(home.home, dataset.name, number)


def test_scored_dataset_without_round_gets_report(ranked, home):
    page = report(ranked, this_round(ranked, home), home)
    text = page.read_text()
    assert page == this_round(ranked, home).folder / "report.html"
    assert "4 images chosen. No challenger was judged." in text
    assert "4 of 10 unlabeled samples were chosen." in text
    assert "yes on 6 of 12 images (50%)" in text
    assert "Not run: no challenger was judged." in text
    assert "reason &lt;3&gt;" in text
    assert text.count("data:image/jpeg") == 4
    assert text.count("data:image/svg+xml") == 2


def test_terminal_report_equals_page(ranked, home):
    from rich.console import Console

    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(to_terminal(ranked, this_round(ranked, home), home))
    printed = console.export_text()
    assert "4 of 10 unlabeled samples were chosen." in printed
    assert printed.index("#1") < printed.index("#2"), "by rank"
    assert "consensus" in printed


def test_report_replaces_earlier_page(ranked, home):
    round_ = this_round(ranked, home)
    page = report(ranked, round_, home)
    page.write_text("old")
    assert report(ranked, round_, home).read_text().startswith("<!doctype html>")
    assert [path.name for path in round_.folder.iterdir()] == ["report.html"]


def test_report_includes_earlier_rounds(ranked, home, make_evaluation):
    for number, right in ((1, 0.7), (2, 0.9)):
        round_ = this_round(ranked, home, number)
        round_.begin(dataset="demo", manifest="tiny")
        round_.run_once("train", lambda number=number: {"examples": 10 * number, "members": {}})
        for name, identity, share in ((rounds.CHAMPION, "a", 0.6), (rounds.CHALLENGER, "b", right)):
            evaluation = make_evaluation(identity, share)
            round_.write(name, evaluation | {"members": {}, "classes": {}, "slices": {}})
    text = report(ranked, this_round(ranked, home, 2), home).read_text()
    rows = text.split("Rounds</h2>")[1]
    assert rows.index(">10</td>") < rows.index(">20</td>")


def test_empty_dataset_gets_report(dataset, home):
    text = report(dataset, this_round(dataset, home), home).read_text()
    assert "Not run: this round has not chosen any sample." in text


def test_label_fields_of_plain_fiftyone_are_members(dataset, home, tmp_path):
    import fiftyone as fo

    path = tmp_path / "a.jpg"
    Image.new("RGB", (64, 48)).save(path)
    box = fo.Detection(label="anything", bounding_box=[0, 0, 0.5, 0.5], confidence=0.5)
    sample = fo.Sample(filepath=str(path), mine=fo.Detections(detections=[box, box]))
    dataset.add_sample(sample)
    sample.tags = ["round-01"]
    sample.save()
    text = report(dataset, this_round(dataset, home), home).read_text()
    assert "mine" in text
    assert "by hand" in text
