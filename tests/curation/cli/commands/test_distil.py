from functools import partial

import pytest
from typer.testing import CliRunner

from curation.active_learning.training.student import Recipe
from curation.cli import app
from curation.errors import PublishError, StageError
from curation.settings import from_environment
from curation.stages import distill
from curation.storage import collection, reader, schema, writer


def run(*words):
    return CliRunner().invoke(app, [str(one) for one in words])


@pytest.fixture
def site(scenes, center, monkeypatch):
    """A dataset with ten labeled images, and a student that is quickly made."""
    small = partial(distill.distill, recipe=Recipe(width=8, size=64, batch_size=4))
    monkeypatch.setattr(distill, "distill", small)
    view = scenes.match({schema.SPLIT: "train"}).limit(10)
    ids, _ = collection.ids_and_paths(view)
    truths = reader.read_detections(view, schema.ORACLE, center.taxonomy)
    writer.write_ground_truth(scenes, dict(zip(ids, truths, strict=True)), labeled_round=1)
    return scenes


@pytest.mark.slow
def test_student_of_version_predicts(site, center, settings, tracking_uri, tmp_path, monkeypatch):
    from curation.tracking import Registry

    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    whole = center.save(tmp_path / "whole")
    Registry.from_settings(from_environment()).register(
        whole, name=site.name, identity=center.identity
    )
    words = ("distil", site.name, "--version", 1, "--epochs", 1, "--seed", 2)
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "  labeled: 10\n" in done.stdout
    assert "of the ensemble's mAP50 on 19 test images of 2 drives" in done.stdout
    assert "at 3 times the speed is not shown" in done.stdout
    made = settings.dataset_folder(site.name) / "student" / "student.yaml"
    assert f"Try it: curate predict {site.name} --manifest {made}" in done.stdout

    again = run(*words)
    assert "Its inputs are unchanged, so nothing was done." in again.stdout

    predicted = run("predict", site.name, "--manifest", made)
    assert predicted.exit_code == 0, predicted.output
    site.reload()
    assert len(site.exists("student")) == len(site)

    unknown = run("distil", site.name, "--version", "champion")
    assert isinstance(unknown.exception, PublishError)


def test_manifest_folder_and_epochs_are_passed_on(site, tmp_path, monkeypatch):
    asked = []

    def told(dataset, ensemble, folder, *, epochs, seed, bars):
        asked.append((dataset.name, ensemble.manifest.name, folder, epochs, seed))
        raise StageError("Enough.")

    monkeypatch.setattr(distill, "distill", told)
    one = tmp_path / "one.yaml"
    one.write_text(
        "{name: one, members: [{name: plain, tier: detection, adapter: center_point, "
        'source: "package:tiny_center", license: Apache-2.0}]}'
    )
    ours = from_environment().dataset_folder(site.name) / "student"
    for words in ([], ["-m", one, "--out", tmp_path, "--epochs", 7, "--seed", 1]):
        assert isinstance(run("distil", site.name, *words).exception, StageError)
    assert asked == [(site.name, "tiny", ours, 40, 0), (site.name, "one", tmp_path, 7, 1)]


def test_manifest_and_version_are_mutually_exclusive():
    done = run("distil", "site", "--manifest", "tiny", "--version", "champion")
    assert done.exit_code == 2
    assert "mutually exclusive" in done.stderr
