import numpy as np
import pytest

from cascade.checkpoints import checkpoint
from cascade.errors import CheckpointError, TrainingError
from cascade.training.probe_fit import STRENGTHS, Probe, fit_probe


def clouds(n=60, d=8, seed=0):
    """Vectors of length 1 in two clouds, in drives of three images."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2 == 0
    vectors = rng.normal(size=(n, d)) + np.where(truth, 1.5, -1.5)[:, None] * np.eye(d)[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), truth, [f"drive {i // 3}" for i in range(n)]


def test_it_tells_apart_what_it_has_not_seen():
    probe = fit_probe(*clouds(), embedder="abc")
    vectors, truth, _ = clouds(seed=1)
    p = probe.p_yes(vectors)
    assert ((p > 0.5) == truth).mean() > 0.85
    assert probe.strength in STRENGTHS


def test_it_says_what_scikit_learn_says():
    from sklearn.linear_model import LogisticRegression

    vectors, truth, groups = clouds()
    probe = fit_probe(vectors, truth, groups, embedder="abc")
    line = LogisticRegression(C=probe.strength, max_iter=2000).fit(vectors.astype(float), truth)
    assert probe.p_yes(vectors) == pytest.approx(line.predict_proba(vectors)[:, 1], abs=1e-6)


def test_it_is_the_same_after_saving(tmp_path):
    vectors, truth, groups = clouds()
    probe = fit_probe(vectors, truth, groups, embedder="abc")
    probe.save(tmp_path / "probe")
    again = Probe.load(tmp_path / "probe", embedder="abc")
    assert (again.p_yes(vectors) == probe.p_yes(vectors)).all()
    assert again.strength == probe.strength
    assert not list((tmp_path / "probe").glob("*.pkl"))
    with pytest.raises(CheckpointError, match="fitted on the embedder abc, not on other"):
        Probe.load(tmp_path / "probe", embedder="other")
    checkpoint.save(tmp_path / "foreign", {"adapter": "yolo"}, {})
    with pytest.raises(CheckpointError, match="is no probe, but of 'yolo'"):
        Probe.load(tmp_path / "foreign", embedder="abc")


def test_weights_count_as_repetitions():
    vectors, truth, _ = clouds(30)
    weights = np.where(np.arange(30) < 10, 2.0, 1.0)
    once = fit_probe(vectors, truth, ["one drive"] * 30, embedder="", weights=weights)
    twice = np.concatenate([np.arange(30), np.arange(10)])
    repeated = fit_probe(vectors[twice], truth[twice], ["one drive"] * 40, embedder="")
    assert once.strength == repeated.strength == 1.0, "one drive cannot be divided"
    assert once.p_yes(vectors) == pytest.approx(repeated.p_yes(vectors), abs=1e-3)


def test_too_few_of_one_answer_are_refused():
    vectors, _, groups = clouds(12)
    with pytest.raises(TrainingError, match="needs 5 images of either answer, got 0 yes and 12 no"):
        fit_probe(vectors, np.zeros(12, bool), groups, embedder="")


def test_vectors_of_another_length_are_refused():
    probe = fit_probe(*clouds(), embedder="")
    with pytest.raises(TrainingError, match=r"shape \(n, 8\), got \(2, 3\)"):
        probe.p_yes(np.zeros((2, 3), np.float32))
