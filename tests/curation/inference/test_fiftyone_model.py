"""Members as FiftyOne's own models: the same boxes, by FiftyOne's own calls."""

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


def test_a_detector_finds_what_our_own_engine_finds(predicted, center):
    some = predicted.limit(6)
    some.apply_model(member_model(center, "tiny_center", CPU), label_field="again", batch_size=4)
    ours = reader.read_detections(some, "tiny_center", center.taxonomy, score="score")
    theirs = reader.read_detections(some, "again", center.taxonomy)
    compared = 0
    for one, other in zip(ours, theirs, strict=True):
        sure = other[other.scores >= 0.05]
        np.testing.assert_allclose(sure.boxes_xyxy, one.boxes_xyxy, atol=1e-3)
        compared += len(sure)
    assert compared > 5


def test_an_embedder_gives_vectors_but_no_labels(predicted, ensemble):
    model = member_model(ensemble, "mobilenet", CPU)
    assert model.has_embeddings
    vectors = predicted.limit(3).compute_embeddings(model)
    assert np.asarray(vectors).shape == (3, 1280)
    with pytest.raises(StageError, match="compute_embeddings"):
        model.predict(np.zeros((32, 32, 3), np.uint8))


@pytest.mark.parametrize(("member", "kind"), [("depth", "Heatmap"), ("sam3", "Detections")])
def test_the_deeper_tiers_give_labels_too(predicted, ensemble, member, kind):
    some = predicted.limit(2)
    some.apply_model(member_model(ensemble, member, CPU), label_field=f"again_{member}")
    labels = some.values(f"again_{member}")
    assert [type(one).__name__ for one in labels] == [kind] * 2
    if kind == "Heatmap":
        assert labels[0].map.shape[0] > 10
        assert labels[0].unit == "metres"
    else:
        assert sum(len(one.detections) for one in labels) > 0
        assert all(one.mask.ndim == 2 for row in labels for one in row.detections)


def test_who_is_no_member_is_named(ensemble):
    with pytest.raises(ManifestError, match="no member 'sam'"):
        member_model(ensemble, "sam")
