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


def rows(found):
    return [np.column_stack([one.boxes_xyxy, one.scores, one.class_ids]) for one in found]


@pytest.fixture(scope="module")
def said(three, center):
    return prediction.predict_objects(center, *three, CPU)


def test_the_fused_boxes_are_those_of_the_ensemble_in_service(said, three, center):
    _, (first, _, third), _ = three
    verdicts = Predictor(center, CPU).predict([batches.read(first), batches.read(third)])
    assert sum(len(one.objects) for one in verdicts) > 0
    for mine, other in zip(rows([said.found[0], said.found[2]]), verdicts, strict=True):
        assert mine == pytest.approx(rows([other.objects])[0], abs=1e-4)


def test_an_image_that_cannot_be_read_has_no_boxes_and_a_reason(said, three):
    ids, _, _ = three
    assert len(said.found[1]) == 0
    assert list(said.unreadable) == [ids[1]]
    assert "gone.jpg`: No such file" in said.unreadable[ids[1]]


def test_what_was_asked_before_is_read_from_the_file(said, three, center, worn, tmp_path):
    told = []
    kept = tmp_path / "folder" / "answers.safetensors"
    first, second = (
        prediction.cached_objects(kept, center, *three, CPU, lambda *at: told.append(at))
        for _ in range(2)
    )
    assert told == [(3, 3)], "asked once"
    for one in (first, second):
        assert one.unreadable == said.unreadable
        for mine, other in zip(one.found, said.found, strict=True):
            assert mine.classes == other.classes
            np.testing.assert_array_equal(rows([mine])[0], rows([other])[0])
    prediction.cached_objects(kept, worn, *three, CPU, lambda *at: told.append(at))
    assert told == [(3, 3)] * 2, "of another ensemble"


def test_no_image_has_no_answers(center, tmp_path):
    nothing = ([], [], np.zeros((0, 2), np.int64))
    for _ in range(2):
        said = prediction.cached_objects(tmp_path / "a.safetensors", center, *nothing, CPU)
        assert (list(said.found), said.unreadable) == ([], {})


def test_members_say_it_in_their_own_words(three, center):
    ids, paths, _ = three
    first, second, _ = prediction.predict_rows(center, ["tiny_center"], ids, paths, CPU)
    assert first["tiny_center"].classes == center.build("tiny_center", CPU).classes
    assert second["tiny_center"].error == "ImageError"


def test_the_images_that_can_be_read_are_timed(three, center):
    _, paths, _ = three
    found = prediction.measure_latency({"a": center, "b": center}, paths, CPU)
    assert [one["n"] for one in found.values()] == [2, 2]
    assert all(one["p50"] > 0 for one in found.values())
