import pytest
import tiny_depth_anything_2
import torch

from cascade import manifest
from cascade.ensemble import Ensemble
from curation.pipeline.predict import predict
from curation.storage import schema

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Return the packaged detector with a tiny depth network."""
    depth = tmp_path_factory.mktemp("depth")
    tiny_depth_anything_2.CASES["depth_anything_2_metric"].write(depth)
    text = f"""
        name: deep
        members:
          - {{name: tiny_center, tier: detection, adapter: center_point,
             source: "package:tiny_center", license: Apache-2.0}}
          - {{name: depth, tier: geometry, adapter: depth_anything_2, source: {depth},
             license: Apache-2.0}}
        """
    return Ensemble.from_manifest(manifest.parse(text))


def test_detectors_are_fused_and_reported(predicted, center, tmp_path):
    calls, results = [], []
    result = predict(
        predicted, center, folder=tmp_path, device=CPU,
        bars=lambda stage: calls.append(stage),
        on_result=lambda stage, result: results.append((stage, result)),
    )  # fmt: skip
    assert calls == ["predict", "fuse"]
    assert results == [("predict", result.predict), ("fuse", result.fuse)]
    assert (result.predict.skipped, result.fuse.fused) == (70, 70)
    assert (result.examine, result.adjudicate) == (None, None)
    assert result.ensemble is center
    assert predicted.list_saved_views() != []


def test_deep_tiers_are_fused_again(predicted, deep, tmp_path):
    view = predicted.match({schema.SPLIT: "test"})
    stages = []
    result = predict(
        view, deep, folder=tmp_path, device=CPU, on_result=lambda stage, _: stages.append(stage)
    )
    assert stages == ["predict", "fuse", "examine", "fuse", "adjudicate"]
    assert (result.examine.ran, result.fuse.fused) == (19, 19)
    assert set(view.values("consensus.fingerprint")) == {deep.identity}


def test_recalibration_is_fused(predicted, center, tmp_path):
    result = predict(predicted, center, folder=tmp_path, device=CPU, recalibrate=True)
    assert result.ensemble.calibration.calibrated_members == ("tiny_center",)
    assert set(predicted.values("consensus.fingerprint")) == {result.ensemble.identity}
