import json
import shutil

import numpy as np
import pytest
import torch

from cascade.ensemble import Ensemble
from cascade.fusion.probe import Probe
from curation.errors import StageError
from curation.stages.evaluate import evaluate
from curation.stages.train import _fit_probe, train
from curation.storage import collection, reader, schema, writer

CPU = torch.device("cpu")


def label(dataset, worn, n):
    """Have the oracle label n images of the training split."""
    view = dataset.match({schema.SPLIT: "train"}).sort_by("filepath").limit(n)
    ids, _ = collection.ids_and_paths(view)
    truths = reader.read_detections(view, schema.ORACLE, worn.taxonomy)
    writer.write_ground_truth(dataset, dict(zip(ids, truths, strict=True)), labeled_round=1)


@pytest.fixture(scope="module")
def labeled(ingested, worn):
    made = ingested.clone()
    label(made, worn, 12)
    return made


@pytest.fixture(scope="module")
def trained(labeled, worn, tmp_path_factory):
    """Return what one epoch on twelve images came to, its folder, and what was told."""
    folder, calls = tmp_path_factory.mktemp("round"), []
    result = train(
        labeled, worn, folder, epochs=1, seed=3, device=CPU,
        progress=lambda *at: calls.append(at),
    )  # fmt: skip
    return result, folder, calls


def test_challenger_is_start_with_new_weights(trained, worn):
    result, _, _ = trained
    assert result.examples == 12
    assert result.ensemble.manifest == worn.manifest
    assert result.ensemble.taxonomy == worn.taxonomy
    assert result.ensemble.fingerprint("tiny_center") != worn.fingerprint("tiny_center")
    assert result.ensemble.fingerprint("mobilenet") == worn.fingerprint("mobilenet")
    assert result.ensemble.competent.all(), "trained on every class, it can name every class"


def test_challenger_is_calibrated_and_loadable(trained):
    result, folder, _ = trained
    assert result.ensemble.calibration.calibrated_members == ("tiny_center",)
    loaded = Ensemble.load(folder / "ensemble")
    assert loaded.identity == result.ensemble.identity
    assert loaded.build("tiny_center", CPU).classes == loaded.taxonomy.names


def test_each_fit_is_reported(trained):
    result, folder, calls = trained
    (summary,) = result.members.values()
    assert summary["epochs"] == 1
    assert summary["best_epoch"] in (0, 1)
    assert len(summary["train_loss"]) == len(summary["val_map50"]) == 1
    assert summary["seconds"] > 0
    record = json.loads((folder / "members" / "tiny_center.json").read_text())
    assert record["content"] == summary
    assert calls[-1] == (1, 1)


def test_finished_member_is_not_fitted_again(trained, labeled, worn, tmp_path):
    result, folder, _ = trained
    shutil.copytree(folder, tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "ensemble")  # cut off after the fit
    calls = []
    again = train(
        labeled, worn, tmp_path / "again", epochs=1, seed=3, device=CPU,
        progress=lambda *at: calls.append(at),
    )  # fmt: skip
    assert again.ensemble.identity == result.ensemble.identity
    assert again.members == result.members
    assert calls == [], "no epoch ran"


def test_member_fitted_with_other_options_is_fitted_again(trained, labeled, worn, tmp_path):
    _, folder, _ = trained
    shutil.copytree(folder, tmp_path / "again")
    again = train(labeled, worn, tmp_path / "again", epochs=1, seed=4, device=CPU)
    longer = train(labeled, worn, tmp_path / "again", epochs=2, seed=4, device=CPU)
    assert again.ensemble.identity != trained[0].ensemble.identity
    assert longer.members["tiny_center"]["epochs"] == 2


def test_fit_without_report_restarts_from_seed(trained, labeled, worn, tmp_path):
    result, folder, _ = trained
    shutil.copytree(folder, tmp_path / "again")
    (tmp_path / "again" / "members" / "tiny_center.json").unlink()  # weights, but no report
    again = train(labeled, worn, tmp_path / "again", epochs=1, seed=3, device=CPU)
    assert again.ensemble.fingerprint("tiny_center") == result.ensemble.fingerprint("tiny_center")
    assert again.ensemble.calibration == result.ensemble.calibration


def test_interrupted_fit_resumes_after_last_epoch(labeled, worn, tmp_path):
    class PulledPlugError(Exception):
        """What ends a round in the middle."""

    def after_two(done, _):
        if done == 2:
            raise PulledPlugError

    expected = train(labeled, worn, tmp_path / "whole", epochs=3, seed=3, device=CPU)
    with pytest.raises(PulledPlugError):
        train(
            labeled, worn, tmp_path / "cut", epochs=3, seed=3, device=CPU, progress=after_two
        )  # fmt: skip
    calls = []
    resumed = train(
        labeled, worn, tmp_path / "cut", epochs=3, seed=3, device=CPU,
        progress=lambda *at: calls.append(at),
    )  # fmt: skip
    assert resumed.members["tiny_center"]["resumed_from"] == 2
    assert calls == [(3, 3)]
    assert resumed.ensemble.fingerprint("tiny_center") == expected.ensemble.fingerprint(
        "tiny_center"
    )
    assert not list((tmp_path / "cut" / "members").glob("*.safetensors"))


def test_missing_image_is_left_out_and_recorded(labeled, worn, tmp_path):
    made = labeled.clone()
    gone = made.match({schema.SPLIT: "train"}).exists(schema.LABELED_ROUND).first()
    gone["filepath"] = str(tmp_path / "gone.jpg")
    gone.save()
    result = train(made, worn, tmp_path / "round", epochs=1, seed=3, device=CPU)
    (reason,) = result.members["tiny_center"]["unreadable"]
    assert "gone.jpg`: No such file" in reason
    made.delete()


def test_focused_fit_changes_example_weights(trained, labeled, worn, tmp_path):
    result, _, _ = trained
    focused = train(labeled, worn, tmp_path / "round", epochs=1, seed=3, focus=True, device=CPU)
    assert focused.examples == result.examples
    before, after = (result.members["tiny_center"]["train_loss"] for result in (result, focused))
    assert before != after


def test_too_few_labels_raise_before_fitting(scenes, worn, tmp_path):
    label(scenes, worn, 7)
    with pytest.raises(StageError, match=r"7 training samples are labeled; .* at least 8"):
        train(scenes, worn, tmp_path / "round", epochs=1, device=CPU)
    assert not (tmp_path / "round").exists()


def test_too_few_validation_labels_keep_calibration(labeled, worn, tmp_path, trained):
    """One rule for the start and the challenger: five images of either answer."""
    _, folder, _ = trained
    few = labeled.clone()
    spare = few.match({schema.SPLIT: "val"}).skip(3).values("id")
    few.delete_samples(spare)
    shutil.copytree(folder, tmp_path / "few")
    result = train(few, worn, tmp_path / "few", epochs=1, device=CPU)
    assert result.ensemble.calibration == worn.calibration
    few.delete()


def test_probe_is_fitted_and_votes(trained, labeled, worn):
    """Twelve images hold five of either answer; the frozen images then have one voter more."""
    result, folder, _ = trained
    probe = result.ensemble.probe
    assert probe.embedder == worn.fingerprint("mobilenet")
    assert result.ensemble.probe_embedder == "mobilenet"
    assert Ensemble.load(folder / "ensemble").probe.identity == probe.identity
    evaluated = evaluate(labeled, {"with": result.ensemble}, device=CPU)["with"]
    without = evaluate(labeled, {"without": result.ensemble.with_probe(None)}, device=CPU)
    assert evaluated["samples"]["p"] != without["without"]["samples"]["p"]


def test_too_few_samples_of_one_answer_keep_probe(labeled, worn):
    before = Probe(np.array([1.0]), 0.0, "of another", strength=1.0)
    assert _fit_probe(labeled.limit(0), worn.with_probe(before), [], CPU, seed=0) is before
