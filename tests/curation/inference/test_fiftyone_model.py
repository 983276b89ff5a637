"""Members as FiftyOne models."""

import numpy as np
import pytest
import tiny_depth_anything_2
import tiny_sam3
import torch

from cascade import manifest
from cascade.ensemble import Ensemble
from cascade.errors import ManifestError
from curation.errors import StageError
from curation.inference.fiftyone_model import member_model
from curation.storage import reader

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    depth, sam3 = tmp_path_factory.mktemp("depth"), tmp_path_factory.mktemp("sam3")
    tiny_depth_anything_2.CASES["depth_anything_2_metric"].write(depth)
    tiny_sam3.CASES["sam3"].write(sam3)
    text = f"""
        name: all
        members:
          - {{name: mobilenet, tier: embedding, adapter: mobilenet, license: MIT}}
          - {{name: tiny_center, tier: detection, adapter: center_point,
             source: "package:tiny_center", license: Apache-2.0}}
          - {{name: depth, tier: geometry, adapter: depth_anything_2, source: {depth},
             license: Apache-2.0}}
          - {{name: sam3, tier: segmentation, adapter: sam3, source: {sam3},
             license: Apache-2.0}}
        """
    return Ensemble.from_manifest(manifest.parse(text))


def test_detector_matches_own_engine(predicted, center):
    view = predicted.limit(6)
    view.apply_model(member_model(center, "tiny_center", CPU), label_field="again", batch_size=4)
    own_boxes = reader.read_detections(view, "tiny_center", center.taxonomy, score="score")
    other_boxes = reader.read_detections(view, "again", center.taxonomy)
    n_compared = 0
    for own, other in zip(own_boxes, other_boxes, strict=True):
        sure = other[other.scores >= 0.05]
        np.testing.assert_allclose(sure.boxes_xyxy, own.boxes_xyxy, atol=1e-3)
        n_compared += len(sure)
    assert n_compared > 5


def test_embedder_has_embeddings_and_no_labels(predicted, ensemble):
    model = member_model(ensemble, "mobilenet", CPU)
    assert model.has_embeddings
    vectors = predicted.limit(3).compute_embeddings(model)
    assert np.asarray(vectors).shape == (3, 1280)
    with pytest.raises(StageError, match="compute_embeddings"):
        model.predict(np.zeros((32, 32, 3), np.uint8))


@pytest.mark.parametrize(("member", "kind"), [("depth", "Heatmap"), ("sam3", "Detections")])
def test_deep_tiers_have_labels(predicted, ensemble, member, kind):
    view = predicted.limit(2)
    view.apply_model(member_model(ensemble, member, CPU), label_field=f"again_{member}")
    labels = view.values(f"again_{member}")
    assert [type(label).__name__ for label in labels] == [kind] * 2
    if kind == "Heatmap":
        assert labels[0].map.shape[0] > 10
        assert labels[0].unit == "metres"
    else:
        assert sum(len(label.detections) for label in labels) > 0
        assert all(box.mask.ndim == 2 for row in labels for box in row.detections)


def test_unknown_member_is_refused(ensemble):
    with pytest.raises(ManifestError, match="no member 'sam'"):
        member_model(ensemble, "sam")
