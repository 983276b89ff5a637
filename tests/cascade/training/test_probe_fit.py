import numpy as np
import pytest

from cascade.errors import TrainingError
from cascade.training.probe_fit import STRENGTHS, fit_probe


def clusters(n=60, d=8, seed=0):
    """Unit vectors in two clusters, in drives of three images."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2 == 0
    vectors = rng.normal(size=(n, d)) + np.where(truth, 1.5, -1.5)[:, None] * np.eye(d)[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), truth, [f"drive {i // 3}" for i in range(n)]


def test_probe_separates_new_images():
    probe = fit_probe(*clusters(), embedder="abc")
    vectors, truth, _ = clusters(seed=1)
    p = probe.p_yes(vectors)
    assert ((p > 0.5) == truth).mean() > 0.85
    assert probe.strength in STRENGTHS


def test_probe_agrees_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    vectors, truth, groups = clusters()
    probe = fit_probe(vectors, truth, groups, embedder="abc")
    model = LogisticRegression(C=probe.strength, max_iter=2000).fit(vectors.astype(float), truth)
    assert probe.p_yes(vectors) == pytest.approx(model.predict_proba(vectors)[:, 1], abs=1e-6)


def test_weights_act_as_repetitions():
    vectors, truth, _ = clusters(30)
    weights = np.where(np.arange(30) < 10, 2.0, 1.0)
    weighted = fit_probe(vectors, truth, ["one drive"] * 30, embedder="", weights=weights)
    rows = np.concatenate([np.arange(30), np.arange(10)])
    repeated = fit_probe(vectors[rows], truth[rows], ["one drive"] * 40, embedder="")
    assert weighted.strength == repeated.strength == 1.0, "one drive cannot be split into folds"
    assert weighted.p_yes(vectors) == pytest.approx(repeated.p_yes(vectors), abs=1e-3)


def test_too_few_images_of_one_answer_are_rejected():
    vectors, _, groups = clusters(12)
    with pytest.raises(TrainingError, match="needs 5 images of either answer, got 0 yes and 12 no"):
        fit_probe(vectors, np.zeros(12, bool), groups, embedder="")
