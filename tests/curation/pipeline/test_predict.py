import torch

from curation.pipeline.predict import predict
from curation.storage import schema

CPU = torch.device("cpu")


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
    assert (result.examine.ran, result.fuse.fused) == (38, 19)
    assert set(view.values("consensus.fingerprint")) == {deep.identity}


def test_recalibration_is_fused(predicted, center, tmp_path):
    result = predict(predicted, center, folder=tmp_path, device=CPU, recalibrate=True)
    assert result.ensemble.calibration.calibrated_members == ("tiny_center",)
    assert set(predicted.values("consensus.fingerprint")) == {result.ensemble.identity}
