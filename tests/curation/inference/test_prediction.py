import numpy as np
import pytest
import torch

from cascade.imaging import batches
from cascade.inference.predictor import Predictor
from curation.inference import prediction
from curation.storage import collection, reader

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def three(ingested, tmp_path_factory):
    """Ids, files and sizes of three images; the second is gone."""
    view = ingested.limit(3)
    ids, paths = collection.ids_and_paths(view)
    gone = str(tmp_path_factory.mktemp("gone") / "gone.jpg")
    return ids, [paths[0], gone, paths[2]], reader.sizes_px(view)


def rows(detections):
    return [
        np.column_stack([boxes.boxes_xyxy, boxes.scores, boxes.class_ids]) for boxes in detections
    ]


@pytest.fixture(scope="module")
def objects(three, center):
    return prediction.predict_objects(center, *three, CPU)


def test_objects_match_predictor(objects, three, center):
    _, (first, _, third), _ = three
    verdicts = Predictor(center, CPU).predict([batches.read(first), batches.read(third)])
    assert sum(len(verdict.objects) for verdict in verdicts) > 0
    for boxes, expected in zip(
        rows([objects.detections[0], objects.detections[2]]), verdicts, strict=True
    ):
        assert boxes == pytest.approx(rows([expected.objects])[0], abs=1e-4)


def test_unreadable_image_has_no_boxes_and_a_reason(objects, three):
    ids, _, _ = three
    assert len(objects.detections[1]) == 0
    assert list(objects.unreadable) == [ids[1]]
    assert "gone.jpg`: No such file" in objects.unreadable[ids[1]]


def test_cached_objects_are_read_from_file(objects, three, center, worn, tmp_path):
    progress = []
    cache = tmp_path / "folder" / "answers.safetensors"
    first, second = (
        prediction.predict_objects(
            center, *three, CPU, lambda *at: progress.append(at), cache=cache
        )
        for _ in range(2)
    )
    assert progress == [(3, 3)], "predicted once"
    for result in (first, second):
        assert result.unreadable == objects.unreadable
        for boxes, expected in zip(result.detections, objects.detections, strict=True):
            assert boxes.classes == expected.classes
            np.testing.assert_array_equal(rows([boxes])[0], rows([expected])[0])
    prediction.predict_objects(worn, *three, CPU, lambda *at: progress.append(at), cache=cache)
    assert progress == [(3, 3)] * 2, "predicted for another ensemble"


def test_cached_objects_without_images(center, tmp_path):
    no_images = ([], [], np.zeros((0, 2), np.int64))
    for _ in range(2):
        objects = prediction.predict_objects(
            center, *no_images, CPU, cache=tmp_path / "a.safetensors"
        )
        assert (list(objects.detections), objects.unreadable) == ([], {})


def test_rows_have_labels_of_member(three, center):
    ids, paths, _ = three
    first, second, _ = prediction.predict_rows(center, ["tiny_center"], ids, paths, CPU)
    assert first["tiny_center"].classes == center.build("tiny_center", CPU).classes
    assert second["tiny_center"].error == "ImageError"


def test_latency_is_measured_on_readable_images(three, center):
    _, paths, _ = three
    latencies = prediction.measure_latency({"a": center, "b": center}, paths, CPU)
    assert [latency["n"] for latency in latencies.values()] == [2, 2]
    assert all(latency["p50"] > 0 for latency in latencies.values())
