"""The deeper tiers: stored beside the detectors, heard by the consensus, asked where needed."""

from pathlib import Path

import numpy as np
import pytest
import tiny_depth_anything_2
import tiny_sam2
import torch

from cascade import manifest as manifests
from cascade.checkpoints import sources
from cascade.ensemble import Ensemble
from curation.errors import StageError
from curation.stages.examine import examine, fingerprint, paths_of
from curation.stages.fuse import fuse
from curation.storage import reader, schema
from curation.storage.collection import dataset_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Return the packaged detector with a tiny depth network and a tiny SAM 2."""
    depth, sam2 = tmp_path_factory.mktemp("depth"), tmp_path_factory.mktemp("sam2")
    tiny_depth_anything_2.CASES["depth_anything_2_metric"].write(depth)
    tiny_sam2.CASES["sam2"].write(sam2)
    text = f"""
        name: deep
        members:
          - {{name: tiny_center, tier: detection, adapter: center_point,
             source: "package:tiny_center", license: Apache-2.0}}
          - {{name: depth, tier: geometry, adapter: depth_anything_2, source: {depth},
             license: Apache-2.0}}
          - {{name: outlines, tier: segmentation, adapter: sam2, source: {sam2},
             license: Apache-2.0}}
        """
    return Ensemble.from_manifest(manifests.parse(text))


@pytest.fixture
def some(predicted, deep):
    """Return 20 samples whose consensus is up to date."""
    view = predicted.match({schema.SPLIT: "test"})
    fuse(view, deep)
    return view


def looked(view, deep, folder, **options):
    return examine(view, deep, folder=folder, device=CPU, **options)


def test_depth_and_masks_are_stored_and_measure_the_objects(some, deep, tmp_path):
    told = []
    done = looked(some, deep, tmp_path, progress=lambda *at: told.append(at))
    assert done.asked == {"depth": 19, "outlines": 19}
    assert (done.samples, done.ran, done.skipped, done.failed) == (19, 38, 0, 0)
    assert told[-1] == (38, 38)
    assert told == sorted(told)

    assert some.values("consensus.fingerprint") == [None] * 19, "it has not heard this yet"
    assert fuse(some, deep).fused == 19
    boxes = [box for one in some.values("consensus.detections") for box in one]
    measured = [box for box in boxes if box.get_attribute_value("distance_m", None) is not None]
    assert len(measured) > 5
    assert all(0 < box.distance_m <= 80 and box.height_m > 0 for box in measured)
    assert {box.plausible for box in measured} <= {True, False}
    assert some.values(schema.TIERS_REACHED) == [["detection", "geometry", "segmentation"]] * 19
    assert some.values(schema.ANSWERED_BY) == ["detection"] * 19


def test_every_consensus_box_has_its_outline_in_a_file(some, deep, tmp_path):
    looked(some, deep, tmp_path)
    compared = 0
    for sample in some:
        found, outlined = sample.consensus.detections, sample.outlines.detections
        assert [one.label for one in outlined] == [one.label for one in found]
        for one in outlined:
            assert Path(one.mask_path).is_relative_to(tmp_path)
            mask = one.get_mask()
            assert mask.ndim == 2
            height = one.bounding_box[3] * sample.metadata.height
            assert mask.shape[0] == pytest.approx(max(height, 1), abs=1)
            compared += 1
    assert compared > 5


def test_a_second_call_does_nothing(some, deep, tmp_path):
    looked(some, deep, tmp_path)
    again = looked(some, deep, tmp_path)
    assert (again.ran, again.skipped) == (0, 38)


def test_other_detectors_show_the_deeper_tiers_something_else(deep):
    other = deep.with_checkpoints({"tiny_center": sources.resolve("package:tiny_rtdetr")})
    assert fingerprint(other, "depth") != fingerprint(deep, "depth")
    assert fingerprint(deep, "depth") != fingerprint(deep, "outlines")


def test_routed_only_the_precision_path_is_looked_at(some, deep, tmp_path):
    ids = some.values("id")
    some.set_values(schema.PATH, ["precision"] * 3 + ["stop"] * 10 + ["fast_a"] * 6)
    done = looked(some, deep, tmp_path, mode="routed")
    assert done.asked == {"depth": 3, "outlines": 3}
    assert done.ran == 6
    seen = some.exists("depth").values("id")
    assert sorted(seen) == sorted(ids[:3])
    untouched = some.select(ids[3:])
    assert set(untouched.values("consensus.fingerprint")) == {deep.identity}


def test_an_image_that_is_gone_is_on_record_and_the_others_are_done(some, deep, tmp_path):
    gone = some.first()
    file = Path(gone.filepath)
    away = file.rename(tmp_path / "away")
    try:
        done = looked(some, deep, tmp_path)
    finally:
        away.rename(file)
    assert (done.ran, done.failed) == (36, 2)
    records = [one for one in reader.read_failures(some) if one["sample"] == gone.id]
    assert {(one["stage"], one["member"], one["error"]) for one in records} == {
        ("examine", "depth", "ImageError"),
        ("examine", "outlines", "ImageError"),
    }
    mended = looked(some, deep, tmp_path)
    assert (mended.ran, mended.failed) == (2, 0)
    assert reader.read_failures(some) == []


def test_a_known_camera_is_believed(some, deep, tmp_path):
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
    return np.array([one for row in rows for one in row if one is not None])


def test_without_a_consensus_it_says_what_to_run(predicted, deep, tmp_path):
    dataset_of(predicted).clear_sample_field(schema.CONSENSUS)
    with pytest.raises(StageError, match=r"70 samples have no consensus.*curate predict"):
        looked(predicted, deep, tmp_path)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("stop", set()),
        ("fast_a", {"vlm_fast_a"}),
        ("fast_b", {"vlm_fast_b"}),
        ("precision", {"depth", "outlines", "vlm_precision"}),
    ],
)
def test_each_path_asks_its_own_members_of_the_full_ensemble(path, asked):
    text = "\n".join(
        [
            "name: whole\nmembers:",
            "- {name: boxes, tier: detection, adapter: detr, license: MIT, source: nowhere}",
            "- {name: depth, tier: geometry, adapter: depth_anything_2, license: MIT}",
            "- {name: outlines, tier: segmentation, adapter: sam2, license: MIT}",
            *(
                f"- {{name: vlm_{one}, tier: language, adapter: vision_language, license: MIT}}"
                for one in ("fast_a", "fast_b", "precision")
            ),
            "routing: {fast_a: [vlm_fast_a], fast_b: [vlm_fast_b], precision: [vlm_precision]}",
        ]
    )
    manifest = manifests.parse(text)
    found = {
        one.name
        for one in manifest.members
        if one.tier != "detection" and path in paths_of(manifest, one.name)
    }
    assert found == asked
