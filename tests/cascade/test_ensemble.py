import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cascade import manifest as manifests
from cascade import registry, taxonomy
from cascade.ensemble import Ensemble
from cascade.errors import CheckpointError, ManifestError, MissingExtraError
from cascade.fusion.calibration import Calibration
from cascade.imaging.batches import Batch
from cascade.protocols import predict


@pytest.fixture
def foreign(weights, monkeypatch):
    """Return a member whose adapter needs a package that is not installed."""
    adapter = registry.Adapter(
        name="of_a_missing_package",
        tier="detection",
        factory="cascade.models.detection.center_point:CenterPoint",
        needs=("no_such_package",),
    )
    monkeypatch.setitem(registry._adapters, adapter.name, adapter)
    return f"name: foreign, adapter: {adapter.name}, source: {weights(1)}"


def manifest(*members, more="", name="pair"):
    rows = "\n".join(f"  - {{licence: MIT, tier: detection, {one}}}" for one in members)
    return manifests.parse(f"name: {name}\n{more}\nmembers:\n{rows}\n")


def at(folder, name="small", more=""):
    return f"name: {name}, adapter: center_point, source: {folder}{more}"


@pytest.fixture
def ensemble(weights):
    return Ensemble.from_manifest(
        manifest(at(weights(0), "first"), at(weights(1), "second", ", weight: 2.0"))
    )


def changed_calibration(ensemble):
    return ensemble.with_calibration(replace(ensemble.calibration, threshold=0.4))


def other_class(ensemble):
    text = taxonomy.to_yaml(ensemble.taxonomy).replace("name: drum", "name: barrel_of_tar")
    return replace(ensemble, taxonomy=taxonomy.parse(text))


IDENTITY = [
    pytest.param(changed_calibration, id="another threshold"),
    pytest.param(other_class, id="another class"),
    pytest.param(
        lambda one: replace(one, manifest=one.manifest.model_copy(update={"version": 2})),
        id="another version of the manifest",
    ),
    pytest.param(
        lambda one: one.with_checkpoints({"first": one.checkpoints["second"]}),
        id="other weights of one member",
    ),
    pytest.param(
        lambda one: replace(one, checkpoints={"first": one.checkpoints["first"]}),
        id="a member that cannot run here",
    ),
]


@pytest.mark.parametrize("change", IDENTITY)
def test_identity_changes_with(ensemble, change):
    assert change(ensemble).identity != ensemble.identity


def test_identity_is_that_of_the_content_wherever_it_lies(ensemble, tmp_path):
    moved = {}
    for name, folder in ensemble.checkpoints.items():
        moved[name] = tmp_path / f"elsewhere_{name}"
        shutil.copytree(folder, moved[name])
    assert ensemble.with_checkpoints(moved).identity == ensemble.identity
    assert len(ensemble.identity) == 16
    assert int(ensemble.identity, 16)


def test_identity_survives_saving_and_loading_twice(ensemble, tmp_path):
    calibrated = changed_calibration(ensemble)
    once = Ensemble.load(calibrated.save(tmp_path / "once"))
    twice = Ensemble.load(once.save(tmp_path / "twice"))
    assert once.identity == twice.identity == calibrated.identity
    assert once.manifest == calibrated.manifest
    assert once.taxonomy == calibrated.taxonomy
    assert once.calibration == calibrated.calibration
    assert once.checkpoints["first"] == tmp_path / "once" / "members" / "first"


def test_a_saved_ensemble_can_be_saved_over_itself(ensemble, tmp_path):
    folder = ensemble.save(tmp_path / "one")
    again = changed_calibration(Ensemble.load(folder))
    again.save(folder)
    assert Ensemble.load(folder).calibration.threshold == 0.4
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_an_interrupted_save_leaves_the_old_folder(ensemble, tmp_path):
    folder = ensemble.save(tmp_path / "one")
    half = changed_calibration(ensemble).with_checkpoints({"second": tmp_path / "gone"})
    with pytest.raises(CheckpointError, match=r"one cannot be written: .*No such file.*gone"):
        half.save(folder)
    assert Ensemble.load(folder).identity == ensemble.identity
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_place_that_cannot_be_written_to_is_named(ensemble, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"file/one cannot be written: .*Not a directory"):
        ensemble.save(tmp_path / "file" / "one")


@pytest.mark.parametrize(
    ("umask", "folder", "file"), [(0o022, 0o755, 0o644), (0o077, 0o700, 0o600)]
)
def test_what_is_saved_honours_the_umask(ensemble, tmp_path, umask, folder, file):
    before = os.umask(umask)
    try:
        saved = ensemble.save(tmp_path / "one")
    finally:
        os.umask(before)
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in [saved, *saved.rglob("*")]}
    assert set(found.values()) == {folder, file}
    assert all(mode == (folder if path.is_dir() else file) for path, mode in found.items())


def test_weights_in_a_folder_that_nobody_may_write_to_can_be_saved_twice(weights, tmp_path):
    source = tmp_path / "site-packages"
    shutil.copytree(weights(0), source)
    source.chmod(0o555)
    one = Ensemble.from_manifest(manifest(at(source)))
    one.save(tmp_path / "one")
    one.save(tmp_path / "one")
    source.chmod(0o755)
    assert stat.S_IMODE((tmp_path / "one" / "members" / "small").stat().st_mode) & 0o200


def test_the_fingerprint_of_a_member_is_its_own(ensemble, weights):
    other = ensemble.with_checkpoints({"first": weights(2)})
    assert other.fingerprint("first") != ensemble.fingerprint("first")
    assert other.fingerprint("second") == ensemble.fingerprint("second")


def test_the_fingerprint_leaves_out_what_changes_no_raw_prediction(ensemble, weights):
    plain = ensemble.fingerprint("first")
    heavier = manifest(at(weights(0), "first", ", weight: 5.0, batch_size: 2"), name="other")
    assert changed_calibration(ensemble).fingerprint("first") == plain
    assert Ensemble.from_manifest(heavier).fingerprint("first") == plain


@pytest.mark.parametrize("more", [", params: {size: 96}", ", precision: bf16"])
def test_the_fingerprint_changes_with_what_changes_raw_predictions(ensemble, weights, more):
    other = Ensemble.from_manifest(manifest(at(weights(0), "first", more)))
    assert other.fingerprint("first") != ensemble.fingerprint("first")


def test_the_fingerprint_changes_with_the_taxonomy_that_translates(ensemble):
    assert other_class(ensemble).fingerprint("first") != ensemble.fingerprint("first")


def test_an_optional_member_without_its_package_is_left_out_with_the_reason(weights, foreign):
    one = Ensemble.from_manifest(manifest(at(weights(0)), f"{foreign}, optional: true"))
    assert one.detectors == ("small",)
    assert list(one.checkpoints) == ["small"]
    assert "needs the package 'no_such_package', which is not installed" in one.left_out["foreign"]


def test_a_member_that_is_not_optional_needs_its_package(weights, foreign):
    with pytest.raises(
        MissingExtraError, match=r"needs the package 'no_such_package'.*pip install"
    ):
        Ensemble.from_manifest(manifest(at(weights(0)), foreign))


def test_what_was_saved_without_an_optional_member_loads_where_its_package_is(weights, tmp_path):
    rows = at(weights(0)), at(weights(1), "second", ", optional: true")
    whole = Ensemble.from_manifest(manifest(*rows))
    without = replace(whole, checkpoints={"small": weights(0)}, left_out={"second": "no package"})
    loaded = Ensemble.load(without.save(tmp_path / "one"))
    assert loaded.detectors == ("small",)
    assert "is not part of this ensemble" in loaded.left_out["second"]
    assert loaded.identity == without.identity


def test_an_optional_member_that_no_hub_gives_is_left_out_again_after_loading(
    weights, tmp_path, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    gated = "name: gated, adapter: detr, source: 'hub:org/gated', optional: true"
    one = Ensemble.from_manifest(manifest(at(weights(0)), gated))
    loaded = Ensemble.load(one.save(tmp_path / "one"))
    assert loaded.detectors == one.detectors == ("small",)
    assert "'org/gated' are not on this machine" in loaded.left_out["gated"]


def test_a_saved_ensemble_that_lost_a_member_is_refused(ensemble, tmp_path):
    folder = ensemble.save(tmp_path / "one")
    shutil.rmtree(folder / "members" / "second")
    with pytest.raises(CheckpointError, match=r"no whole ensemble: members/second is missing"):
        Ensemble.load(folder)


@pytest.mark.parametrize("part", ["manifest.yaml", "taxonomy.yaml", "calibration.json"])
def test_a_folder_without_a_part_is_no_ensemble(ensemble, tmp_path, part):
    folder = ensemble.save(tmp_path / "one")
    (folder / part).unlink()
    with pytest.raises(CheckpointError, match=f"one is no ensemble: {part} is missing"):
        Ensemble.load(folder)


def test_weights_that_are_not_there_are_refused_before_anything_is_built(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*nowhere"):
        Ensemble.from_manifest(manifest(at(tmp_path / "nowhere")))


def test_an_ensemble_begins_uncalibrated_over_the_taxonomy_that_is_given(weights):
    own = taxonomy.from_labels("site", ["helmet", "cone"], ["cone"])
    one = Ensemble.from_manifest(manifest(at(weights(0))), taxonomy=own)
    assert one.calibration == Calibration.uncalibrated(deciding=("cone",))
    assert one.taxonomy.names == ("helmet", "cone")


def test_voices_and_vocabularies_come_in_the_order_of_the_detectors(weights):
    named = at(weights(1), "named", ", weight: 3.0, vocabulary: [truck, traffic cone]")
    one = Ensemble.from_manifest(manifest(at(weights(0), "plain"), named))
    names = one.taxonomy.names
    assert one.weights.tolist() == [1.0, 3.0]
    assert one.vocabulary("named") == ("cone", "vehicle")
    assert one.competent.shape == (2, len(names))
    assert [names[c] for c in np.flatnonzero(one.competent[0])] == ["cone", "vehicle"]


def test_a_member_without_weights_or_words_is_refused():
    one = Ensemble.from_manifest(manifest("name: dumb, adapter: center_point"))
    with pytest.raises(ManifestError, match="'dumb' does not tell what it can name"):
        one.vocabulary("dumb")


def test_an_ensemble_without_an_embedder_says_which_to_add(ensemble):
    with pytest.raises(ManifestError, match=r"no member of the tier 'embedding'.*'mobilenet'"):
        _ = ensemble.embedder


def test_the_packaged_ensemble_embeds_and_detects():
    one = Ensemble.from_manifest("tiny")
    assert one.embedder == "mobilenet"
    assert set(one.detectors) | set(one.left_out) == {"tiny_center", "tiny_rtdetr", "tiny_yolo"}
    assert one.competent.any(axis=1).all()


def test_a_loaded_member_predicts_what_the_saved_one_did(tiny_center, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8)
    loaded = Ensemble.load(tiny_center.save(tmp_path / "one"))
    (before,), (after,) = (
        predict(one.build("tiny_center", torch.device("cpu")), Batch(("a",), (image,)))
        for one in (tiny_center, loaded)
    )
    np.testing.assert_array_equal(before.scores, after.scores)
    np.testing.assert_array_equal(before.boxes_xyxy, after.boxes_xyxy)


def test_the_path_of_a_member_is_asked_for_by_its_name(ensemble):
    with pytest.raises(ManifestError, match=r"has no member 'frist'. Did you mean 'first'\?"):
        ensemble.fingerprint("frist")
    assert isinstance(ensemble.checkpoints["first"], Path)
