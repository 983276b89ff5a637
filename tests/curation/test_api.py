"""`import curation as cu`: cheap, complete, documented, and the same as the stages."""

import importlib
import inspect
import json
import subprocess
import sys

import pytest

import cascade
import curation as cu
from curation.errors import DatasetError, PublishError, StageError

LISTED = "import json, sys, curation, cascade; print(json.dumps(list(sys.modules)))"
FUNCTIONS = [one for one in cu.__all__ if one != "pictures"]


def test_importing_imports_nothing_else():
    done = subprocess.run(
        [sys.executable, "-c", LISTED], capture_output=True, text=True, check=True, cwd="/"
    )
    found = json.loads(done.stdout)
    assert [one for one in found if one.split(".")[0] in ("cascade", "curation")] == [
        "curation", "cascade",
    ]  # fmt: skip
    assert {"numpy", "torch", "fiftyone", "pymongo"}.isdisjoint(found)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_a_sentence_its_types_and_an_example(name):
    function = getattr(cu, name)
    text = inspect.getdoc(function)
    assert text.split("\n")[0].endswith(".")
    assert "Example:\n    >>> " in text
    hints = inspect.signature(function)
    assert hints.return_annotation is not inspect.Signature.empty
    assert all(one.annotation is not one.empty for one in hints.parameters.values())
    listed = set(hints.parameters) - {"options"}
    documented = text.partition("Args:")[2]
    assert [one for one in listed if f"{one}: " not in documented] == []


@pytest.mark.parametrize("package", [cu, cascade], ids=["curation", "cascade"])
def test_what_is_announced_is_there_and_nothing_else(package):
    assert sorted(package.__all__) == sorted(set(package.__all__))
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense


@pytest.mark.parametrize("verb", ["ingest", "report"])
def test_a_folder_of_that_name_does_not_hide_the_verb(verb):
    folder = importlib.import_module(f"curation.{verb}")
    assert folder.__path__
    assert inspect.isfunction(getattr(cu, verb))


def test_no_other_verb_is_named_like_a_module_of_ours():
    from pkgutil import iter_modules

    modules = {one.name for one in iter_modules(cu.__path__)}
    assert modules & set(cu.__all__) == {"ingest", "report"}


def test_the_model_side_answers_about_an_image(scenes_folder):
    image = cascade.read(next(scenes_folder.glob("images/*.jpg")))
    ensemble = cascade.Ensemble.from_manifest("tiny")
    (verdict,) = cascade.Predictor(ensemble).predict([image])
    assert isinstance(verdict.objects, cascade.Detections)


def test_a_dataset_that_is_not_there_is_named(database):
    with pytest.raises(DatasetError, match="nobody_made_this"):
        cu.load("nobody_made_this")


def test_a_dataset_is_loaded_by_its_name(ingested):
    assert cu.load("ingested").name == "ingested"


def test_plain_fiftyone_predicts_scores_and_chooses_a_view(scenes_folder, database):
    """The dataset was never ingested: no taxonomy, no split, no metadata."""
    import fiftyone as fo

    dataset = fo.Dataset.from_images(
        [str(one) for one in sorted(scenes_folder.glob("images/*.jpg"))[:8]], progress=False
    )
    try:
        view = dataset.limit(6)
        done = cu.predict(view, manifest="tiny")
        assert done.fuse.fused == done.predict.samples == 6
        assert done.examine is None
        assert cu.score(view).ranked == 6
        assert cu.choose(view, budget=2, seed=1).chosen == 2
        assert len(dataset.match_tags("round-01")) == 2
        assert cu.choose(view, budget=2, seed=1).chosen == 2  # the same, not two more
        assert len(dataset.match_tags("round-01")) == 2
    finally:
        dataset.delete()


def test_a_dataset_of_ones_own_is_taken_into_rounds(database):
    import fiftyone as fo

    dataset = fo.Dataset()
    cone = fo.Detection(label="cone", bounding_box=[0.1, 0.1, 0.2, 0.2])
    dataset.add_samples(
        [
            fo.Sample("/a.jpg", people=fo.Detections(detections=[cone]), tags=["val"]),
            fo.Sample("/b.jpg", tags=["train"]),
        ],
        progress=False,
    )
    try:
        made = cu.adopt(dataset, ground_truth="people", split_from="tags")
        assert made.labeled == 1
        assert dataset.values("split") == ["val", "train"]
        assert dataset.values("ground_truth.detections.label") == [["cone"], None]
    finally:
        dataset.delete()


def test_fields_that_are_there_are_scored_without_a_model(predicted):
    made = cu.score(predicted, members=["tiny_center"])
    assert made.members == ("tiny_center",)


def test_a_round_goes_out_to_files_comes_back_and_is_taken_back(predicted):
    cu.score(predicted, members=["tiny_center"])
    cu.choose(predicted, budget=4)
    assert cu.preview(predicted).chosen
    pushed = cu.push(predicted, labeler="files")
    assert (pushed.pushed, pushed.existing) == (4, 0)
    assert cu.push(predicted, labeler="files").existing == 4
    assert cu.pull(predicted).waiting == 4  # of who was handed them
    with pytest.raises(StageError, match="waits for the labels of 4 chosen samples"):
        cu.train(predicted, labeler="files", epochs=1)
    taken = cu.withdraw(predicted, labeler="files")
    assert taken.extent.chosen == 4
    assert len(predicted.match_tags("round-01")) == 0


def test_a_version_that_nobody_registered_is_refused(predicted, tracking_uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    assert cu.versions(predicted) == []
    assert cu.history(predicted) == []
    with pytest.raises(PublishError, match=r"is 'challenger'\. Registered: none"):
        cu.promote(predicted, by="Ada", why="because")
    with pytest.raises(PublishError, match="Registered: none"):
        cu.compare(predicted, "1", "2")


def test_pictures_are_drawn_and_say_what_is_missing(predicted):
    with pytest.raises(StageError, match="Nothing has a hardness yet"):
        cu.pictures.hardness(predicted)
    with pytest.raises(StageError, match="was not evaluated"):
        cu.pictures.before_after(predicted)
    with pytest.raises(StageError, match="has no UMAP picture"):
        cu.pictures.embedding(predicted)
    cu.score(predicted, members=["tiny_center"])
    assert cu.pictures.hardness(predicted).axes
    sheet = cu.pictures.sheet(predicted, ["ground_truth", "tiny_center"], n=3, apart=True)
    assert sheet.image.size[0] == pytest.approx(2 * cu.pictures.TILE_WH[0], abs=20)
    assert sheet._repr_jpeg_()[:2] == b"\xff\xd8"
    beside = cu.pictures.sheet(predicted, ["tiny_center"], n=3)
    assert beside.image.size[0] == pytest.approx(3 * cu.pictures.TILE_WH[0], abs=20)
