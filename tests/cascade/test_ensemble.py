import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cascade import manifest, registry, taxonomy
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


def parse(*members, name="pair"):
    rows = "\n".join(f"  - {{license: MIT, tier: detection, {member}}}" for member in members)
    return manifest.parse(f"name: {name}\nmembers:\n{rows}\n")


def row(folder, name="small", options=""):
    return f"name: {name}, adapter: center_point, source: {folder}{options}"


@pytest.fixture
def ensemble(weights):
    return Ensemble.from_manifest(
        parse(row(weights(0), "first"), row(weights(1), "second", ", weight: 2.0"))
    )


def changed_calibration(ensemble):
    return ensemble.with_calibration(replace(ensemble.calibration, threshold=0.4))


def other_class(ensemble):
    text = ensemble.taxonomy.to_yaml().replace("name: drum", "name: barrel_of_tar")
    return replace(ensemble, taxonomy=taxonomy.parse(text))


IDENTITY = [
    pytest.param(changed_calibration, id="threshold"),
    pytest.param(other_class, id="class"),
    pytest.param(
        lambda ens: replace(ens, manifest=ens.manifest.model_copy(update={"version": 2})),
        id="manifest version",
    ),
    pytest.param(
        lambda ens: ens.with_checkpoints({"first": ens.checkpoints["second"]}),
        id="weights of a member",
    ),
    pytest.param(
        lambda ens: replace(ens, checkpoints={"first": ens.checkpoints["first"]}),
        id="member that cannot run here",
    ),
]


@pytest.mark.parametrize("change", IDENTITY)
def test_identity_changes_with(ensemble, change):
    assert change(ensemble).identity != ensemble.identity


def test_identity_does_not_depend_on_the_location(ensemble, tmp_path):
    moved = {}
    for name, folder in ensemble.checkpoints.items():
        moved[name] = tmp_path / f"elsewhere_{name}"
        shutil.copytree(folder, moved[name])
    assert ensemble.with_checkpoints(moved).identity == ensemble.identity
    assert len(ensemble.identity) == 16
    assert int(ensemble.identity, 16)


def test_identity_is_kept_by_save_and_load(ensemble, tmp_path):
    calibrated = changed_calibration(ensemble)
    first = Ensemble.load(calibrated.save(tmp_path / "once"))
    second = Ensemble.load(first.save(tmp_path / "twice"))
    assert first.identity == second.identity == calibrated.identity
    assert first.manifest == calibrated.manifest
    assert first.taxonomy == calibrated.taxonomy
    assert first.calibration == calibrated.calibration
    assert first.checkpoints["first"] == tmp_path / "once" / "members" / "first"


def test_save_over_itself(ensemble, tmp_path):
    folder = ensemble.save(tmp_path / "one")
    changed_calibration(Ensemble.load(folder)).save(folder)
    assert Ensemble.load(folder).calibration.threshold == 0.4
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_failed_save_keeps_the_existing_folder(ensemble, tmp_path):
    folder = ensemble.save(tmp_path / "one")
    broken = changed_calibration(ensemble).with_checkpoints({"second": tmp_path / "gone"})
    with pytest.raises(
        CheckpointError, match=r"Cannot write the ensemble .*one: .*No such file.*gone"
    ):
        broken.save(folder)
    assert Ensemble.load(folder).identity == ensemble.identity
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_save_to_an_unwritable_folder_raises(ensemble, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        CheckpointError, match=r"Cannot write the ensemble .*file/one: .*Not a directory"
    ):
        ensemble.save(tmp_path / "file" / "one")


@pytest.mark.parametrize(
    ("umask", "folder", "file"), [(0o022, 0o755, 0o644), (0o077, 0o700, 0o600)]
)
def test_save_respects_the_umask(ensemble, tmp_path, umask, folder, file):
    before = os.umask(umask)
    try:
        saved = ensemble.save(tmp_path / "one")
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [saved, *saved.rglob("*")]}
    assert set(modes.values()) == {folder, file}
    assert all(mode == (folder if path.is_dir() else file) for path, mode in modes.items())


def test_weights_in_a_read_only_folder_can_be_saved_twice(weights, tmp_path):
    source = tmp_path / "site-packages"
    shutil.copytree(weights(0), source)
    source.chmod(0o555)
    ensemble = Ensemble.from_manifest(parse(row(source)))
    ensemble.save(tmp_path / "one")
    ensemble.save(tmp_path / "one")
    source.chmod(0o755)
    assert stat.S_IMODE((tmp_path / "one" / "members" / "small").stat().st_mode) & 0o200


def test_fingerprint_depends_on_the_members_weights(ensemble, weights):
    other = ensemble.with_checkpoints({"first": weights(2)})
    assert other.fingerprint("first") != ensemble.fingerprint("first")
    assert other.fingerprint("second") == ensemble.fingerprint("second")


def test_fingerprint_excludes_calibration_weight_and_batch_size(ensemble, weights):
    plain = ensemble.fingerprint("first")
    heavier = parse(row(weights(0), "first", ", weight: 5.0, batch_size: 2"), name="other")
    assert changed_calibration(ensemble).fingerprint("first") == plain
    assert Ensemble.from_manifest(heavier).fingerprint("first") == plain


@pytest.mark.parametrize("options", [", params: {size: 96}", ", precision: bf16"])
def test_fingerprint_depends_on_params_and_precision(ensemble, weights, options):
    other = Ensemble.from_manifest(parse(row(weights(0), "first", options)))
    assert other.fingerprint("first") != ensemble.fingerprint("first")


def test_fingerprint_depends_on_the_taxonomy(ensemble):
    assert other_class(ensemble).fingerprint("first") != ensemble.fingerprint("first")


def test_optional_member_without_its_package_is_left_out(weights, foreign):
    ensemble = Ensemble.from_manifest(parse(row(weights(0)), f"{foreign}, optional: true"))
    assert ensemble.detectors == ("small",)
    assert list(ensemble.checkpoints) == ["small"]
    assert (
        "requires the package 'no_such_package', which is not installed"
        in ensemble.left_out["foreign"]
    )


def test_required_member_without_its_package_raises(weights, foreign):
    with pytest.raises(
        MissingExtraError, match=r"requires the package 'no_such_package'.*pip install"
    ):
        Ensemble.from_manifest(parse(row(weights(0)), foreign))


def test_ensemble_saved_without_an_optional_member_loads_without_it(weights, tmp_path):
    rows = row(weights(0)), row(weights(1), "second", ", optional: true")
    complete = Ensemble.from_manifest(parse(*rows))
    without = replace(
        complete, checkpoints={"small": weights(0)}, left_out={"second": "no package"}
    )
    loaded = Ensemble.load(without.save(tmp_path / "one"))
    assert loaded.detectors == ("small",)
    assert "is not part of this ensemble" in loaded.left_out["second"]
    assert loaded.identity == without.identity


def test_optional_member_without_its_hub_is_left_out_after_loading(weights, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    gated = "name: gated, adapter: detr, source: 'hub:org/gated', optional: true"
    ensemble = Ensemble.from_manifest(parse(row(weights(0)), gated))
    loaded = Ensemble.load(ensemble.save(tmp_path / "one"))
    assert loaded.detectors == ensemble.detectors == ("small",)
    assert "'org/gated' are not on this machine" in loaded.left_out["gated"]


def test_load_without_the_weights_of_a_member_raises(ensemble, tmp_path):
    folder = ensemble.save(tmp_path / "one")
    shutil.rmtree(folder / "members" / "second")
    with pytest.raises(CheckpointError, match=r"is incomplete: members/second is missing"):
        Ensemble.load(folder)


@pytest.mark.parametrize("part", ["manifest.yaml", "taxonomy.yaml", "calibration.json"])
def test_load_without_a_part_raises(ensemble, tmp_path, part):
    folder = ensemble.save(tmp_path / "one")
    (folder / part).unlink()
    with pytest.raises(CheckpointError, match=f"one is not an ensemble: missing {part}"):
        Ensemble.load(folder)


def test_missing_weights_raise(tmp_path):
    with pytest.raises(CheckpointError, match=r"find a checkpoint at .*nowhere"):
        Ensemble.from_manifest(parse(row(tmp_path / "nowhere")))


def test_from_manifest_is_uncalibrated_with_the_given_taxonomy(weights):
    own = taxonomy.from_labels("site", ["helmet", "cone"], ["cone"])
    ensemble = Ensemble.from_manifest(parse(row(weights(0))), taxonomy=own)
    assert ensemble.calibration == Calibration.uncalibrated(deciding=("cone",))
    assert ensemble.taxonomy.names == ("helmet", "cone")


def test_weights_and_vocabularies_in_the_order_of_detectors(weights):
    named = row(weights(1), "named", ", weight: 3.0, vocabulary: [truck, traffic cone]")
    ensemble = Ensemble.from_manifest(parse(row(weights(0), "plain"), named))
    names = ensemble.taxonomy.names
    assert ensemble.weights.tolist() == [1.0, 3.0]
    assert ensemble.vocabulary("named") == ("cone", "vehicle")
    assert ensemble.competent.shape == (2, len(names))
    assert [names[c] for c in np.flatnonzero(ensemble.competent[0])] == ["cone", "vehicle"]


def test_vocabulary_of_a_member_without_classes_raises():
    ensemble = Ensemble.from_manifest(parse("name: dumb, adapter: center_point"))
    with pytest.raises(ManifestError, match="'dumb' does not list its classes"):
        ensemble.vocabulary("dumb")


def test_embedder_without_an_embedding_member_raises(ensemble):
    with pytest.raises(ManifestError, match=r"no member of the tier 'embedding'.*'mobilenet'"):
        _ = ensemble.embedder


def test_packaged_ensemble():
    ensemble = Ensemble.from_manifest("tiny")
    assert ensemble.embedder == "mobilenet"
    assert set(ensemble.detectors) | set(ensemble.left_out) == {
        "tiny_center",
        "tiny_rtdetr",
        "tiny_yolo",
    }
    assert ensemble.competent.any(axis=1).all()


def test_loaded_member_predicts_like_the_saved_one(tiny_center, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8)
    loaded = Ensemble.load(tiny_center.save(tmp_path / "one"))
    (before,), (after,) = (
        predict(ensemble.build("tiny_center", torch.device("cpu")), Batch(("a",), (image,)))
        for ensemble in (tiny_center, loaded)
    )
    np.testing.assert_array_equal(before.scores, after.scores)
    np.testing.assert_array_equal(before.boxes_xyxy, after.boxes_xyxy)


def test_unknown_member_name_raises(ensemble):
    with pytest.raises(ManifestError, match=r"has no member 'frist'. Did you mean 'first'\?"):
        ensemble.fingerprint("frist")
    assert isinstance(ensemble.checkpoints["first"], Path)
