"""Greedy coverage: lazy against plain, and against scikit-activeml's MaxHerding."""

import numpy as np
import pytest
from skactiveml.pool import MaxHerding

from curation.active_learning.selection import coverage


def unit(vectors):
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def sphere(n, d=16, seed=0):
    return unit(np.random.default_rng(seed).normal(size=(n, d)))


NONE = np.empty((0, 16), np.float32)


def pick(candidates, points, worth, *, sigma, covering, **options):
    problem = coverage.Problem(candidates, points, worth, covering, sigma)
    return coverage.pick_greedily(problem, **options)


def _slowly(candidates, points, worth, *, budget, sigma, covering, scale=None, quota=None):
    """Return the picks, with all gains computed from full distance matrices."""
    a, x, t = (m.astype(np.float64) for m in (candidates, points, covering))

    def k(p, q):
        return np.exp(-((p[:, None] - q[None]) ** 2).sum(axis=2) / sigma**2)

    cover = k(x, t).max(axis=1, initial=0.0)
    kernels, picks = k(a, x), []
    present = None if quota is None else quota.present.astype(float)
    for _ in range(min(budget, len(a))):
        score = (np.maximum(kernels - cover, 0) * worth).sum(axis=1)
        score *= 1 if scale is None else scale
        if quota is not None:
            factor = np.ones(len(a))
            for g, wanted in enumerate(quota.wanted):
                factor += quota.membership[g] * max(0.0, wanted - present[g]) / wanted
            score *= factor
        score[picks] = -np.inf
        best = int(score.argmax())
        picks.append(best)
        cover = np.maximum(cover, kernels[best])
        if quota is not None:
            present += quota.membership[:, best]
    return picks


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("labeled", [0, 30])
def test_lazy_greedy_equals_plain_greedy(seed, labeled):
    rng = np.random.default_rng(seed)
    points = sphere(400, seed=seed)
    candidates = points[rng.choice(400, 150, replace=False)]
    arguments = {
        "budget": 60,
        "sigma": 0.8,
        "covering": sphere(labeled, seed=seed + 100),
        "scale": (1 + rng.poisson(3, 150)) ** -0.5,
        "quota": coverage.Quota(
            membership=rng.random((3, 150)) < 0.2,
            wanted=np.array([5.0, 12.5, 30.0]),
            present=np.array([0, 6, 31]),
        ),
    }
    worth = rng.random(400)
    picks = pick(candidates, points, worth, **arguments)
    assert picks.order.tolist() == _slowly(candidates, points, worth, **arguments)
    assert picks.evaluations < 150 * 60 / 2  # fewer evaluations than plain greedy
    assert (picks.gain >= 0).all()


@pytest.mark.parametrize("labeled", [0, 10])
@pytest.mark.parametrize("seed", range(3))
def test_picks_equal_max_herding(seed, labeled):
    # MaxHerding sums over the unlabeled points; gamma is 1 / sigma^2. It is queried after each
    # pick, because two neighbors that only cover each other have exactly equal gains.
    z, sigma = sphere(150, seed=seed), 0.9
    y = np.concatenate([np.zeros(labeled), np.full(150 - labeled, np.nan)])
    oracle = MaxHerding(metric="rbf", metric_dict={"gamma": 1 / sigma**2}, random_state=0)
    free = z[labeled:]
    picks = pick(free, free, np.ones(len(free)), budget=25, sigma=sigma, covering=z[:labeled])
    for row in picks.order + labeled:
        _, utilities = oracle.query(z, y, batch_size=1, return_utilities=True)
        assert utilities[0, row] == pytest.approx(np.nanmax(utilities), rel=1e-5)
        y[row] = 0


def test_gains_never_rise_without_quota():
    z = sphere(300)
    gain = pick(z, z, np.ones(300), budget=300, sigma=0.7, covering=NONE).gain
    assert (np.diff(gain) <= 1e-4).all()


def test_gains_sum_to_covered():
    z, worth, covering = sphere(200), np.random.default_rng(1).random(200), sphere(20, seed=9)
    picks = pick(z, z, worth, budget=30, sigma=0.7, covering=covering)
    problem = coverage.Problem(z[picks.order], z, worth, covering, sigma=0.7)
    total = coverage.NumpyCover(problem).total_gain()
    assert picks.gain.sum() == pytest.approx(total, rel=1e-5)


def test_picks_prefer_worth():
    z = unit([[1, 0], [0.99, 0.1], [0, 1], [0.1, 0.99]])
    picks = pick(z, z, np.array([0.1, 0.1, 1.0, 0.9]), budget=1, sigma=0.1, covering=NONE[:, :2])
    assert picks.order.tolist() == [2]


def test_covered_points_are_not_picked_again():
    z = unit([[1, 0], [0, 1]])
    picks = pick(z, z, np.array([1.0, 0.1]), budget=1, sigma=0.3, covering=z[:1])
    assert picks.order.tolist() == [1]
    assert picks.nearest == pytest.approx([0.0])


def test_scale_lowers_costly_candidates():
    z = unit([[1, 0], [0, 1]])
    picks = pick(
        z,
        z,
        np.array([1.0, 0.9]),
        budget=2,
        sigma=0.3,
        covering=NONE[:, :2],
        scale=np.array([0.5, 1]),
    )
    assert picks.order.tolist() == [1, 0]


def test_ties_are_picked_in_order():
    z = unit(np.ones((5, 16)))
    picks = pick(z, z, np.ones(5), budget=9, sigma=1.0, covering=NONE)
    assert picks.order.tolist() == [0, 1, 2, 3, 4]
    assert picks.gain == pytest.approx([5, 0, 0, 0, 0], abs=1e-5)


@pytest.mark.parametrize(("candidates", "points"), [(0, 0), (0, 5), (5, 0)])
def test_empty_candidates_or_points(candidates, points):
    picks = pick(
        sphere(candidates), sphere(points), np.ones(points), budget=3, sigma=1.0, covering=NONE
    )
    assert picks.order.tolist() == list(range(min(3, candidates)))


def test_quota_factor_decreases_with_present_samples():
    quota = coverage.Quota(
        membership=np.array([[True, True, False], [False, True, False]]),
        wanted=np.array([4.0, 2.0]),
        present=np.zeros(2, int),
    )
    assert quota.factor(np.array([0, 0])).tolist() == [2.0, 3.0, 1.0]
    assert quota.factor(np.array([1, 5])).tolist() == [1.75, 1.75, 1.0]


def test_picks_do_not_depend_on_block_size(monkeypatch):
    z, covering = sphere(300), sphere(70, seed=5)
    reference = pick(z, z, np.ones(300), budget=40, sigma=0.8, covering=covering)
    monkeypatch.setattr(coverage, "_BLOCK_BYTES", 4 * 300 * 7)
    small = pick(z, z, np.ones(300), budget=40, sigma=0.8, covering=covering)
    assert small.order.tolist() == reference.order.tolist()


def test_nearest_cosine_equals_full_matrix():
    points, others = sphere(100), sphere(50, seed=3)
    expected = (points @ others.T).max(axis=1)
    assert coverage.nearest_cosine(points, others) == pytest.approx(expected, abs=1e-6)
    assert (coverage.nearest_cosine(points, NONE) == -np.inf).all()


def _distances(z):
    return np.linalg.norm(z[:, None].astype(float) - z[None], axis=2)


def test_bandwidth_before_and_after_fifty_labels():
    labeled, pool, rng = sphere(60, seed=1), sphere(200, seed=2), np.random.default_rng(0)
    distances = _distances(labeled)[np.triu_indices(60, k=1)]
    assert coverage.bandwidth(labeled, pool, rng) == pytest.approx(
        np.percentile(distances, 1), rel=1e-4
    )
    distances = _distances(pool)
    np.fill_diagonal(distances, np.inf)
    expected = np.median(distances.min(axis=1))
    assert coverage.bandwidth(labeled[:49], pool, rng) == pytest.approx(expected, rel=1e-4)


def test_bandwidth_is_positive_with_duplicates():
    twins = np.repeat(sphere(40, seed=1), 2, axis=0)
    assert coverage.bandwidth(twins, NONE, np.random.default_rng(0)) > 0.1
    same = unit(np.ones((80, 16)))
    assert coverage.bandwidth(same, same, np.random.default_rng(0)) == 1.0
    assert coverage.bandwidth(NONE, NONE, np.random.default_rng(0)) == 1.0
