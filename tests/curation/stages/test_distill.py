import json
import shutil

import pytest
import torch

from cascade import manifest
from cascade.checkpoints import sources
from cascade.ensemble import Ensemble
from curation.active_learning.evaluation.frozen_set import frozen_set
from curation.active_learning.training.student import Recipe, license_expression
from curation.errors import StageError
from curation.stages.distill import distill
from curation.stages.predict import predict
from curation.storage import collection, queries, reader, schema, writer

CPU = torch.device("cpu")
N_LABELED, N_POOL = 10, 6
SMALL = Recipe(width=16, size=96, batch_size=4)
OPTIONS = {"epochs": 3, "seed": 3, "recipe": SMALL, "device": CPU}


def label(dataset, taxonomy, n):
    """Have the oracle label n images of the training split."""
    view = dataset.match({schema.SPLIT: "train"}).sort_by("filepath").limit(n)
    ids, _ = collection.ids_and_paths(view)
    truths = reader.read_detections(view, schema.ORACLE, taxonomy)
    writer.write_ground_truth(dataset, dict(zip(ids, truths, strict=True)), labeled_round=1)


class Bars:
    """Takes note of what each part was calls."""

    def __init__(self):
        self.calls = {}

    def __call__(self, part):
        return lambda *at: self.calls.setdefault(part, []).append(at)


@pytest.fixture(scope="module")
def labeled(ingested, center):
    made = ingested.clone()
    label(made, center.taxonomy, N_LABELED)
    made.delete_samples(queries.pool(made).skip(N_POOL))
    return made


@pytest.fixture(scope="module")
def made(labeled, center, tmp_path_factory):
    """Return the result of three epochs on ten images, its folder, and what was calls."""
    folder, bars = tmp_path_factory.mktemp("out") / "student", Bars()
    return distill(labeled, center, folder, bars=bars, **OPTIONS), folder, bars.calls


def files(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def test_student_has_classes_of_ensemble(made, center):
    result, folder, _ = made
    assert result.changed
    assert result.manifest == folder / "student.yaml"
    alone = Ensemble.from_manifest(manifest.load(result.manifest))
    assert alone.detectors == ("student",)
    assert alone.taxonomy == center.taxonomy
    assert alone.build("student", CPU).classes == center.taxonomy.names
    assert [path.name for path in folder.iterdir() if "safetensors" in path.name] == []


def test_record_lists_training_data_of_student(made, labeled, center):
    result, folder, calls = made
    content = json.loads((folder / "taught.json").read_text())["content"]
    assert result.labeled == content["labeled"] == N_LABELED
    assert 0 < result.taught <= N_POOL
    assert result.lesson_kept == content["lesson_kept"]
    assert result.licence == license_expression(SMALL, center if result.lesson_kept else None)
    assert content["checkpoint"] == sources.fingerprint(folder / "student")
    assert result.unreadable == ()
    n_val = len(frozen_set(labeled, "val", center.taxonomy))
    assert calls["ask"][-1] == (n_val + N_POOL, n_val + N_POOL)
    assert calls["teach"] == [(i, 5) for i in range(1, 6)], "3 of the ground truth, then the lesson"


def test_ensemble_and_student_are_measured_on_test_split(made, labeled, center):
    result, _, calls = made
    frozen = frozen_set(labeled, "test", center.taxonomy)
    retention = result.retention
    assert (retention.images, retention.drives) == (len(frozen), 2)
    assert retention.ensemble_map50 > 0.2
    assert 0 <= retention.student_map50 <= 1
    assert retention.share_low <= retention.share <= retention.share_high
    assert retention.ensemble_images_s > 0
    assert retention.student_images_s > 0
    assert "2 drives are too few" in retention.sentence
    assert calls["measure"][-1] == (2 * len(frozen), 2 * len(frozen))


def test_distill_leaves_dataset_unchanged_and_student_predicts(made, labeled):
    result, _, _ = made
    assert "student" not in labeled.get_field_schema()
    few = labeled.limit(2).clone()
    predict(few, Ensemble.from_manifest(result.manifest), device=CPU)
    assert len(few.exists("student")) == 2
    few.delete()


def test_second_call_changes_nothing(made, labeled, center):
    result, folder, _ = made
    before, bars = files(folder), Bars()
    again = distill(labeled, center, folder, bars=bars, **OPTIONS)
    assert not again.changed
    assert again.retention == result.retention
    assert (again.taught, again.licence) == (result.taught, result.licence)
    assert files(folder) == before
    assert bars.calls == {}


@pytest.mark.parametrize("after", [1, 4], ids=["the ground truth", "the lesson"])
def test_interrupted_distillation_resumes(made, labeled, center, tmp_path, after):
    class PulledPlugError(Exception):
        """What ends a call in the middle."""

    def cut(part):
        def progress(done, _):
            if part == "teach" and done == after:
                raise PulledPlugError

        return progress

    _, folder, calls = made
    with pytest.raises(PulledPlugError):
        distill(labeled, center, tmp_path, bars=cut, **OPTIONS)
    assert not (tmp_path / "student.yaml").exists()
    bars = Bars()
    distill(labeled, center, tmp_path, bars=bars, **OPTIONS)
    assert "ask" not in bars.calls, "the ensemble is not asked again"
    assert len(bars.calls["teach"]) == len(calls["teach"]) - after
    assert sources.fingerprint(tmp_path / "student") == sources.fingerprint(folder / "student")
    assert [path.name for path in tmp_path.iterdir() if "safetensors" in path.name] == []


def test_missing_images_are_left_out_and_recorded(made, labeled, center, tmp_path):
    """Of the labeled, of the pool, and of validation; and what it is made from is another thing."""
    _, folder, _ = made
    shutil.copytree(folder, tmp_path / "out")
    changed = labeled.clone()
    train = changed.match({schema.SPLIT: "train"})
    views = {
        "labeled": train.exists(schema.LABELED_ROUND),
        "pool": queries.pool(changed),
        "val": changed.match({schema.SPLIT: "val"}),
    }
    for name, view in views.items():
        gone = view.first()
        gone["filepath"] = str(tmp_path / f"{name}.jpg")
        gone.save()
    result = distill(changed, center, tmp_path / "out", **OPTIONS)
    assert result.changed
    assert sorted(message.split("/")[-1] for message in result.unreadable) == [
        f"{name}.jpg`: No such file or directory." for name in sorted(views)
    ]
    changed.delete()


def test_missing_test_split_skips_measurement(labeled, center, tmp_path):
    without = labeled.clone()
    without.delete_samples(without.match({schema.SPLIT: "test"}))
    without.delete_samples(queries.pool(without))  # nor is there anything to be taught
    result = distill(without, center, tmp_path, **OPTIONS)
    assert result.retention is None
    assert (result.taught, result.lesson_kept, result.licence) == (0, False, "MIT")
    assert not (tmp_path / "kept.json").exists()
    without.delete()


def test_invalid_input_raises_before_writing(scenes, center, tmp_path):
    label(scenes, center.taxonomy, 7)
    with pytest.raises(StageError, match=r"7 training samples are labeled; .* at least 8"):
        distill(scenes, center, tmp_path, **OPTIONS)
    label(scenes, center.taxonomy, N_LABELED)
    scenes.delete_samples(scenes.match({schema.SPLIT: "val"}))
    with pytest.raises(StageError, match=r"Split 'val' of .* has no labeled box"):
        distill(scenes, center, tmp_path, **OPTIONS)
    text = """
        name: looks_only
        members: [{name: mobilenet, tier: embedding, adapter: mobilenet, license: MIT}]
        """
    with pytest.raises(StageError, match="'looks_only' has no detector"):
        distill(scenes, Ensemble.from_manifest(manifest.parse(text)), tmp_path, **OPTIONS)
    assert list(tmp_path.iterdir()) == []
