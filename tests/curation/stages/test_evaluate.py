from dataclasses import replace

import numpy as np
import pytest
import torch

from cascade import taxonomy
from cascade.imaging import batches
from cascade.inference.predictor import Predictor
from curation.active_learning.evaluation.frozen_set import frozen_set
from curation.errors import StageError
from curation.stages.evaluate import evaluate
from curation.storage import collection, schema

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def small(ingested):
    """Return six test images, three of each answer, and two of training."""
    roadwork = taxonomy.load("roadwork")
    frozen = frozen_set(ingested, "test", roadwork)
    truth = frozen.decisions(roadwork)
    chosen = [frozen.ids[i] for yes in (True, False) for i in np.flatnonzero(truth == yes)[:3]]
    train = ingested.match({schema.SPLIT: "train"}).limit(2).values("id")
    return ingested.select([*chosen, *train]).clone()


@pytest.fixture
def six(small):
    made = small.clone()
    yield made
    made.delete()


def test_it_measures_what_the_ensemble_says_of_the_frozen_images(six, center):
    told = []
    both = {"champion": center, "challenger": center}
    found = evaluate(six, both, device=CPU, progress=lambda *at: told.append(at))
    champion = found["champion"]
    paths = six.select(champion["samples"]["id"], ordered=True).values("filepath")
    verdicts = Predictor(center, CPU).predict([batches.read(path) for path in paths])
    assert champion["samples"]["p"] == pytest.approx([one.p for one in verdicts], abs=1e-5)
    assert (champion["n_images"], champion["n_positive"]) == (6, 3)
    assert champion["latency_ms"]["n"] == 6
    assert champion["latency_ms"]["mean"] > 0
    plain = [{key: v for key, v in one.items() if key != "latency_ms"} for one in found.values()]
    assert plain[0] == plain[1], "the same ensemble, the same figures"
    assert told[-1] == (12, 12)


def test_what_a_round_labeled_is_not_part_of_the_set(six, center):
    ids, _ = collection.ids_and_paths(six.match({schema.SPLIT: "test"}))
    six.select(ids[0]).set_values(schema.LABELED_ROUND, [1])
    found = evaluate(six, {"champion": center}, device=CPU)["champion"]
    assert found["n_images"] == 5
    assert ids[0] not in found["samples"]["id"]


def test_without_a_labeled_test_image_nothing_can_be_measured(six, center):
    with pytest.raises(StageError, match=r"The split 'val' of .* has no labeled image"):
        evaluate(six, {"champion": center}, split="val", device=CPU)


def test_an_image_that_cannot_be_read_counts_as_a_no_and_stops_nothing(six, center):
    first = six.match({schema.SPLIT: "test"}).first()
    first.filepath = "/0_gone.jpg"
    first.save()
    found = evaluate(six, {"champion": center}, device=CPU)["champion"]
    assert found["samples"]["id"][0] == first.id
    assert found["samples"]["p"][0] is None
    assert found["n_images"] == 6
    assert found["latency_ms"]["n"] == 5


def test_each_ensemble_is_judged_by_its_own_threshold(six, center):
    sure = center.with_calibration(replace(center.calibration, threshold=1.0))
    found = evaluate(six, {"a": center, "b": sure}, device=CPU)
    assert (found["a"]["threshold"], found["b"]["threshold"]) == (0.5, 1.0)
    assert found["b"]["recall"] == 0
    assert found["a"]["ensemble"] != found["b"]["ensemble"]
