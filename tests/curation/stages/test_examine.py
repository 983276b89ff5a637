"""The deeper tiers: stored beside the detectors, heard by the consensus, asked where needed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cascade import manifest as manifests
from cascade.checkpoints import sources
from curation.errors import StageError
from curation.stages.examine import examine, fingerprint, paths_of
from curation.stages.fuse import fuse
from curation.storage import reader, schema
from curation.storage.collection import dataset_of

CPU = torch.device("cpu")


@pytest.fixture
def some(predicted, deep):
    """Return 20 samples whose consensus is up to date."""
    view = predicted.match({schema.SPLIT: "test"})
    fuse(view, deep)
    return view


def looked(view, deep, folder, **options):
    return examine(view, deep, folder=folder, device=CPU, **options)


def test_depth_and_masks_are_stored_and_measure_objects(some, deep, tmp_path):
    calls = []
    done = looked(some, deep, tmp_path, progress=lambda *at: calls.append(at))
    assert done.asked == {"depth": 19, "outlines": 19}
    assert (done.samples, done.ran, done.skipped, done.failed) == (19, 38, 0, 0)
    assert calls[-1] == (38, 38)
    assert calls == sorted(calls)

    assert some.values("consensus.fingerprint") == [None] * 19, "it has not heard this yet"
    assert fuse(some, deep).fused == 19
    boxes = [box for detections in some.values("consensus.detections") for box in detections]
    measured = [box for box in boxes if box.get_attribute_value("distance_m", None) is not None]
    assert len(measured) > 5
    assert all(0 < box.distance_m <= 80 and box.height_m > 0 for box in measured)
    assert {box.plausible for box in measured} <= {True, False}
    assert some.values(schema.TIERS_REACHED) == [["detection", "geometry", "segmentation"]] * 19
    assert some.values(schema.ANSWERED_BY) == ["detection"] * 19


def test_every_consensus_box_has_mask_file(some, deep, tmp_path):
    looked(some, deep, tmp_path)
    compared = 0
    for sample in some:
        consensus, outlined = sample.consensus.detections, sample.outlines.detections
        assert [detection.label for detection in outlined] == [
            detection.label for detection in consensus
        ]
        for detection in outlined:
            assert Path(detection.mask_path).is_relative_to(tmp_path)
            mask = detection.get_mask()
            assert mask.ndim == 2
            height = detection.bounding_box[3] * sample.metadata.height
            assert mask.shape[0] == pytest.approx(max(height, 1), abs=1)
            compared += 1
    assert compared > 5


def test_second_call_does_nothing(some, deep, tmp_path):
    looked(some, deep, tmp_path)
    again = looked(some, deep, tmp_path)
    assert (again.ran, again.skipped) == (0, 38)


def test_changed_detectors_rerun_deep_tiers(deep):
    other = deep.with_checkpoints({"tiny_center": sources.resolve("package:tiny_rtdetr")})
    assert fingerprint(other, "depth") != fingerprint(deep, "depth")
    assert fingerprint(deep, "depth") != fingerprint(deep, "outlines")


def test_routed_mode_examines_only_precision_path(some, deep, tmp_path):
    ids = some.values("id")
    some.set_values(schema.PATH, ["precision"] * 3 + ["stop"] * 10 + ["fast_a"] * 6)
    done = looked(some, deep, tmp_path, mode="routed")
    assert done.asked == {"depth": 3, "outlines": 3}
    assert done.ran == 6
    seen = some.exists("depth").values("id")
    assert sorted(seen) == sorted(ids[:3])
    untouched = some.select(ids[3:])
    assert set(untouched.values("consensus.fingerprint")) == {deep.identity}


def test_missing_image_is_recorded_and_others_are_examined(some, deep, tmp_path):
    gone = some.first()
    file = Path(gone.filepath)
    away = file.rename(tmp_path / "away")
    try:
        done = looked(some, deep, tmp_path)
    finally:
        away.rename(file)
    assert (done.ran, done.failed) == (36, 2)
    records = [record for record in reader.read_failures(some) if record["sample"] == gone.id]
    assert {(record["stage"], record["member"], record["error"]) for record in records} == {
        ("examine", "depth", "ImageError"),
        ("examine", "outlines", "ImageError"),
    }
    retried = looked(some, deep, tmp_path)
    assert (retried.ran, retried.failed) == (2, 0)
    assert reader.read_failures(some) == []


def test_known_focal_length_is_used(some, deep, tmp_path):
    looked(some, deep, tmp_path)
    fuse(some, deep)
    before = heights(some)
    some.set_values(schema.FOCAL_PX, [300.0] * 19)
    some.set_values("consensus.fingerprint", [None] * 19)
    fuse(some, deep)
    after = heights(some)
    some.set_values(schema.FOCAL_PX, [600.0] * 19)
    some.set_values("consensus.fingerprint", [None] * 19)
    fuse(some, deep)
    np.testing.assert_allclose(heights(some) * 2, after, rtol=1e-6)
    assert not np.allclose(before, after)


def heights(view):
    rows = view.values("consensus.detections.height_m")
    return np.array([height for row in rows for height in row if height is not None])


def test_missing_consensus_names_command(predicted, deep, tmp_path):
    dataset_of(predicted).clear_sample_field(schema.CONSENSUS)
    with pytest.raises(StageError, match=r"70 samples have no consensus.*curate predict"):
        looked(predicted, deep, tmp_path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("stop", set()),
        ("fast_a", {"vlm_fast_a"}),
        ("fast_b", {"vlm_fast_b"}),
        ("precision", {"depth", "outlines", "vlm_precision"}),
    ],
)
def test_paths_of_full_ensemble_have_their_members(path, expected):
    text = "\n".join(
        [
            "name: whole\nmembers:",
            "- {name: boxes, tier: detection, adapter: detr, license: MIT, source: nowhere}",
            "- {name: depth, tier: geometry, adapter: depth_anything_2, license: MIT}",
            "- {name: outlines, tier: segmentation, adapter: sam2, license: MIT}",
            *(
                f"- {{name: vlm_{path}, tier: language, adapter: vision_language, license: MIT}}"
                for path in ("fast_a", "fast_b", "precision")
            ),
            "routing: {fast_a: [vlm_fast_a], fast_b: [vlm_fast_b], precision: [vlm_precision]}",
        ]
    )
    manifest = manifests.parse(text)
    members = {
        member.name
        for member in manifest.members
        if member.tier != "detection" and path in paths_of(manifest, member.name)
    }
    assert members == expected
