"""Public functions of `import curation as cu`: lazy imports, documentation, results."""

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
FUNCTIONS = [name for name in cu.__all__ if name != "plots"]


def test_import_loads_no_other_modules():
    done = subprocess.run(
        [sys.executable, "-c", LISTED], capture_output=True, text=True, check=True, cwd="/"
    )
    modules = json.loads(done.stdout)
    assert [name for name in modules if name.split(".")[0] in ("cascade", "curation")] == [
        "curation", "cascade.runtime", "cascade.runtime.moved_modules", "cascade",
    ]  # fmt: skip
    assert {"numpy", "torch", "fiftyone", "pymongo"}.isdisjoint(modules)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_summary_types_and_example(name):
    function = getattr(cu, name)
    text = inspect.getdoc(function)
    assert text.split("\n")[0].endswith(".")
    assert "Example:\n    >>> " in text
    hints = inspect.signature(function)
    assert hints.return_annotation is not inspect.Signature.empty
    assert all(
        parameter.annotation is not parameter.empty for parameter in hints.parameters.values()
    )
    listed = set(hints.parameters) - {"options"}
    documented = text.partition("Args:")[2]
    assert [name for name in listed if f"{name}: " not in documented] == []


@pytest.mark.parametrize("package", [cu, cascade], ids=["curation", "cascade"])
def test_all_lists_exactly_the_public_names(package):
    assert sorted(package.__all__) == sorted(set(package.__all__))
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense


@pytest.mark.parametrize("verb", ["ingest", "report"])
def test_subpackage_does_not_hide_function(verb):
    folder = importlib.import_module(f"curation.{verb}")
    assert folder.__path__
    assert inspect.isfunction(getattr(cu, verb))


def test_no_other_function_shares_name_with_module():
    from pkgutil import iter_modules

    modules = {module.name for module in iter_modules(cu.__path__)}
    assert modules & set(cu.__all__) == {"ingest", "report"}


def test_predictor_returns_objects_of_image(scenes_folder):
    image = cascade.read(next(scenes_folder.glob("images/*.jpg")))
    ensemble = cascade.Ensemble.from_manifest("tiny")
    (verdict,) = cascade.Predictor(ensemble).predict([image])
    assert isinstance(verdict.objects, cascade.Detections)


def test_missing_dataset_raises(database):
    with pytest.raises(DatasetError, match="no_such_dataset"):
        cu.load("no_such_dataset")


def test_dataset_is_loaded_by_name(ingested):
    assert cu.load("ingested").name == "ingested"


def test_plain_fiftyone_view_is_predicted_scored_and_chosen_from(scenes_folder, database):
    """The dataset was never ingested: no taxonomy, no split, no metadata."""
    import fiftyone as fo

    dataset = fo.Dataset.from_images(
        [str(path) for path in sorted(scenes_folder.glob("images/*.jpg"))[:8]], progress=False
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


def test_own_dataset_is_adopted(database):
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


def test_existing_fields_are_scored_without_model(predicted):
    made = cu.score(predicted, members=["tiny_center"])
    assert made.members == ("tiny_center",)


def test_round_is_pushed_pulled_and_withdrawn_with_files(predicted):
    cu.score(predicted, members=["tiny_center"])
    cu.choose(predicted, budget=4)
    assert cu.preview(predicted).chosen
    pushed = cu.push(predicted, labeler="files")
    assert (pushed.pushed, pushed.existing) == (4, 0)
    assert cu.push(predicted, labeler="files").existing == 4
    assert cu.pull(predicted).waiting == 4  # of who was handed them
    with pytest.raises(StageError, match="waits for the labels of 4 chosen samples"):
        cu.train(predicted, labeler="files", epochs=1)
    withdrawn = cu.withdraw(predicted, labeler="files")
    assert withdrawn.extent.chosen == 4
    assert len(predicted.match_tags("round-01")) == 0


def test_unregistered_version_raises(predicted, tracking_uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    assert cu.versions(predicted) == []
    assert cu.history(predicted) == []
    with pytest.raises(PublishError, match=r"no version 'challenger'\. Registered versions: none"):
        cu.promote(predicted, by="Ada", why="because")
    with pytest.raises(PublishError, match="Registered versions: none"):
        cu.compare(predicted, "1", "2")


@pytest.mark.parametrize(("name", "current"), [("pictures", "plots"), ("distil", "distill")])
def test_deprecated_name_warns_and_works(name, current):
    with pytest.warns(DeprecationWarning, match=f"Use `curation.{current}`"):
        assert getattr(cu, name) is getattr(cu, current)


def test_deprecated_keyword_warns_and_works(predicted):
    with pytest.warns(DeprecationWarning, match="Use `strictest_license`"):
        ensemble = cu.ensemble(predicted, "tiny", licence="permissive")
    assert ensemble.detectors == cu.ensemble(predicted, strictest_license="permissive").detectors


def test_plots_are_drawn_or_name_missing_data(predicted):
    with pytest.raises(StageError, match="No sample has a hardness"):
        cu.plots.hardness(predicted)
    with pytest.raises(StageError, match="has not been evaluated"):
        cu.plots.before_after(predicted)
    with pytest.raises(StageError, match="has no UMAP plot"):
        cu.plots.embedding(predicted)
    cu.score(predicted, members=["tiny_center"])
    assert cu.plots.hardness(predicted).axes
    sheet = cu.plots.sheet(predicted, ["ground_truth", "tiny_center"], n=3, apart=True)
    assert sheet.image.size[0] == pytest.approx(2 * cu.plots.TILE_WH[0], abs=20)
    assert sheet._repr_jpeg_()[:2] == b"\xff\xd8"
    merged = cu.plots.sheet(predicted, ["tiny_center"], n=3)
    assert merged.image.size[0] == pytest.approx(3 * cu.plots.TILE_WH[0], abs=20)
