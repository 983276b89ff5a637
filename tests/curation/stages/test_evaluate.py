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


def test_evaluation_measures_ensemble_on_frozen_images(six, center):
    calls = []
    ensembles = {"champion": center, "challenger": center}
    evaluations = evaluate(six, ensembles, device=CPU, progress=lambda *at: calls.append(at))
    champion = evaluations["champion"]
    paths = six.select(champion["samples"]["id"], ordered=True).values("filepath")
    verdicts = Predictor(center, CPU).predict([batches.read(path) for path in paths])
    assert champion["samples"]["p"] == pytest.approx([verdict.p for verdict in verdicts], abs=1e-5)
    assert (champion["n_images"], champion["n_positive"]) == (6, 3)
    assert champion["latency_ms"]["n"] == 6
    assert champion["latency_ms"]["mean"] > 0
    plain = [
        {key: v for key, v in evaluation.items() if key != "latency_ms"}
        for evaluation in evaluations.values()
    ]
    assert plain[0] == plain[1], "the same ensemble, the same figures"
    assert calls[-1] == (12, 12)


def test_samples_labeled_by_round_are_not_evaluated(six, center):
    ids, _ = collection.ids_and_paths(six.match({schema.SPLIT: "test"}))
    six.select(ids[0]).set_values(schema.LABELED_ROUND, [1])
    evaluation = evaluate(six, {"champion": center}, device=CPU)["champion"]
    assert evaluation["n_images"] == 5
    assert ids[0] not in evaluation["samples"]["id"]


def test_missing_labeled_test_images_raise(six, center):
    with pytest.raises(StageError, match=r"Split 'val' of .* has no labeled image"):
        evaluate(six, {"champion": center}, split="val", device=CPU)


def test_unreadable_image_counts_as_no(six, center):
    first = six.match({schema.SPLIT: "test"}).first()
    first.filepath = "/0_gone.jpg"
    first.save()
    evaluation = evaluate(six, {"champion": center}, device=CPU)["champion"]
    assert evaluation["samples"]["id"][0] == first.id
    assert evaluation["samples"]["p"][0] is None
    assert evaluation["n_images"] == 6
    assert evaluation["latency_ms"]["n"] == 5


def test_each_ensemble_uses_its_own_threshold(six, center):
    sure = center.with_calibration(replace(center.calibration, threshold=1.0))
    evaluations = evaluate(six, {"a": center, "b": sure}, device=CPU)
    assert (evaluations["a"]["threshold"], evaluations["b"]["threshold"]) == (0.5, 1.0)
    assert evaluations["b"]["recall"] == 0
    assert evaluations["a"]["ensemble"] != evaluations["b"]["ensemble"]
