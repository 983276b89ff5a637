import numpy as np
import pytest
from PIL import Image

PREDICT = "predict_cascade/predict_cascade"


@pytest.fixture
def images(dataset, tmp_path):
    import fiftyone as fo

    noise = np.random.default_rng(0).integers(0, 255, (2, 96, 128, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        dataset.add_sample(fo.Sample(filepath=str(path)))
    return dataset


def test_members_get_fields_and_ensemble_gets_consensus(execute, images):
    outcome = execute(PREDICT, images)
    assert outcome.error_message is None
    result = outcome.result
    assert result["samples"] == result["fused"] == 2
    assert result["failed"] == 0
    assert None not in images.values("tiny_center.detections")
    assert None not in images.values("consensus.detections")
    assert set(images.values("roadwork.label")) <= {"yes", "no"}

    repeated = execute(PREDICT, images, manifest="tiny").result
    assert (repeated["ran"], repeated["skipped"], repeated["fused"]) == (0, result["ran"], 0)


def test_form_offers_packaged_manifests(form, images):
    manifest = form(PREDICT, images)["manifest"]
    assert "tiny" in [choice.value for choice in manifest.view.choices]
    assert manifest.default == "tiny"


def test_unknown_manifest_is_rejected(execute, images):
    from fiftyone.operators.executor import ExecutionError

    with pytest.raises(ExecutionError, match="manifest"):
        execute(PREDICT, images, manifest="tinny")
    assert not images.has_field("consensus")
