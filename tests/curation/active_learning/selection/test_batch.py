"""Choice of batches: arms, quotas, near-duplicates, edge cases, time and memory."""

import time
import tracemalloc

import numpy as np
import pytest
from scipy.stats import chisquare

from curation.active_learning.selection import coverage
from curation.active_learning.selection.batch import choose
from curation.active_learning.selection.pool import Pool
from curation.errors import SelectionError

NAN = np.nan


def sphere(n, d=16, seed=0):
    z = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def pool(n=400, d=16, seed=0, **columns):
    rng = np.random.default_rng(seed)
    defaults = {
        "embeddings": sphere(n, d, seed),
        "hardness": rng.permutation(n) / max(n - 1, 1),
        "drives": [None] * n,
        "times_s": np.full(n, NAN),
        "expected_boxes": rng.poisson(2, n).astype(float),
        "strata": {"night": np.arange(n) % 10 == 0},
    }
    return Pool(**{**defaults, **columns})


LABELED = sphere(60, seed=99)
NO_LABELED = np.empty((0, 16), np.float32)


def test_batch_has_size_arms_and_distinct_samples():
    example = pool(2000)
    chosen = choose(example, LABELED, 40, quotas={"night": 0.3}, seed=1)
    assert len(chosen) == len(set(chosen.index)) == len(chosen.arm) == len(chosen.because) == 40
    assert chosen.arm.count("random") == 6
    assert set(chosen.arm) == {"random", "hard", "slice", "coverage"}
    assert ((chosen.index >= 0) & (chosen.index < 2000)).all()
    assert chosen.gap == 0.0
    assert choose(example, LABELED, 40, seed=1).advice == ()


def test_arm_matches_reason_of_candidate():
    example = pool(2000)
    chosen = choose(example, LABELED, 40, quotas={"night": 0.3}, seed=1)
    hardest = set(np.argsort(-example.hardness)[: 4 * 40 + 6])
    for row, arm in zip(chosen.index, chosen.arm, strict=True):
        if arm == "hard":
            assert row in hardest
        if arm in ("slice", "coverage"):
            assert example.hardness[row] < 0.95
        if arm == "slice":
            assert example.strata["night"][row]


def test_reasons_describe_arms():
    chosen = choose(pool(2000), LABELED, 40, quotas={"night": 0.3}, seed=1)
    sentence_of = dict(zip(chosen.arm, chosen.because, strict=True))
    assert sentence_of["random"] == "Drawn uniformly from all 2000 samples of the pool."
    assert sentence_of["slice"].startswith(
        "Brought in by the quota of night (12 wanted). The nearest"
    )
    assert sentence_of["coverage"].startswith(
        "Stands for what no labeled sample shows yet. The nearest"
    )
    assert "of 2000. The nearest labeled or chosen sample has cosine 0." in sentence_of["hard"]


def test_reason_without_labeled_samples():
    chosen = choose(pool(50), NO_LABELED, 1, random_share=0.0, seed=0)
    assert chosen.because[0].endswith("Nothing was labeled or chosen before it.")


def test_easier_half_is_not_hard():
    example = pool(100)
    chosen = choose(example, LABELED, 60, seed=0)
    hard = [row for row, arm in zip(chosen.index, chosen.arm, strict=True) if arm == "hard"]
    assert len(hard) > 10
    assert example.hardness[hard].min() > 0.4


def test_round_zero_has_no_hard_arm():
    chosen = choose(pool(hardness=None), NO_LABELED, 40, seed=3)
    assert set(chosen.arm) == {"random", "coverage"}
    assert len(chosen) == 40


def test_round_zero_covers_more_clusters_than_random():
    rng = np.random.default_rng(0)
    centers = sphere(20, seed=5)
    z = centers[np.minimum(rng.geometric(0.3, 1000) - 1, 19)] + 0.1 * rng.normal(size=(1000, 16))
    z = (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)
    clusters = (z @ centers.T).argmax(axis=1)
    example = pool(1000, embeddings=z, hardness=None, expected_boxes=np.zeros(1000))
    chosen = choose(example, NO_LABELED, 20, random_share=0.0, seed=0)
    drawn = [len(set(clusters[rng.choice(1000, 20, replace=False)])) for _ in range(50)]
    assert len(set(clusters[chosen.index])) > np.mean(drawn) + 1


def test_random_arm_is_spread_over_order():
    chosen = choose(pool(), LABELED, 40, seed=1)
    for end in (14, 20, 30, 40):
        assert chosen.arm[:end].count("random") == pytest.approx(0.15 * end, abs=1)


def test_random_arm_is_uniform_over_pool():
    # Half of the pool are copies of one image, and all have the same time: both must not affect
    # the draws.
    n, counts = 30, np.zeros(30)
    z = sphere(n)
    z[15:] = z[15]
    example = pool(n, embeddings=z, drives=["a"] * n, times_s=np.zeros(n))
    for seed in range(2000):
        chosen = choose(example, LABELED, 4, random_share=0.5, seed=seed)
        drawn = [r for r, a in zip(chosen.index, chosen.arm, strict=True) if a == "random"]
        assert len(drawn) == 2
        counts[drawn] += 1
    assert chisquare(counts).pvalue > 0.01


def test_hardest_near_duplicate_is_retained():
    z = sphere(100)
    z[1] = z[0]
    example = pool(100, embeddings=z, hardness=np.linspace(0, 1, 100))
    chosen = choose(example, LABELED, 20, random_share=0.0, seed=0)
    assert chosen.dropped.tolist() == [0]
    assert chosen.duplicate_of.tolist() == [1]


def test_duplicates_of_random_arm_are_not_chosen():
    z = np.repeat(sphere(20), 5, axis=0)
    example = pool(100, embeddings=z, strata={})
    chosen = choose(example, LABELED, 20, random_share=0.2, seed=0)
    drawn = [r // 5 for r, a in zip(chosen.index, chosen.arm, strict=True) if a == "random"]
    others = [r // 5 for r, a in zip(chosen.index, chosen.arm, strict=True) if a != "random"]
    assert not set(drawn) & set(others)
    assert len(others) == len(set(others))


def test_frames_within_a_second_are_chosen_once():
    example = pool(100, drives=["a"] * 100, times_s=np.arange(100) * 0.1)
    chosen = choose(example, LABELED, 50, random_share=0.0, seed=0)
    times = np.sort(example.times_s[chosen.index])
    assert (np.diff(times) > 0.999).all()
    assert 5 <= len(chosen) <= 10
    assert (
        f"Only {len(chosen)} of 50 samples could be chosen: the pool holds 100, of which "
        in (chosen.advice[1])
    )


def test_quota_raises_share_of_slice():
    example = pool(2000)
    night = example.strata["night"]
    share = {"night": 0.3}
    wanted = [choose(example, LABELED, 40, quotas=share, seed=seed).index for seed in range(5)]
    unwanted = [choose(example, LABELED, 40, seed=seed).index for seed in range(5)]
    assert night[np.concatenate(wanted)].mean() > 0.15 > night[np.concatenate(unwanted)].mean()


def test_unmet_quota_gives_advice():
    example = pool(2000, strata={"snow": np.arange(2000) < 3})
    chosen = choose(example, LABELED, 40, quotas={"snow": 0.5}, seed=1)
    n_snow = np.isin([0, 1, 2], chosen.index).sum()
    sentence = f"snow: {n_snow} of 20 wanted samples are chosen; the pool holds 3."
    assert chosen.advice == (sentence,)


def test_choice_is_deterministic():
    first, second = (choose(pool(), LABELED, 40, quotas={"night": 0.2}, seed=7) for _ in range(2))
    assert first.index.tolist() == second.index.tolist()
    assert first.because == second.because
    other = choose(pool(), LABELED, 40, quotas={"night": 0.2}, seed=8)
    assert first.index.tolist() != other.index.tolist()


def test_unknown_hardness_is_not_hard():
    values = np.full(400, NAN)
    values[:20] = np.linspace(0.5, 1, 20)
    chosen = choose(pool(hardness=values), LABELED, 40, seed=0)
    assert len(chosen) == 40
    assert {r for r, a in zip(chosen.index, chosen.arm, strict=True) if a == "hard"} <= set(
        range(20)
    )


EDGES = [
    pytest.param(0, 10, 0, id="empty pool"),
    pytest.param(10, 0, 0, id="no budget"),
    pytest.param(1, 1, 1, id="one sample"),
    pytest.param(10, 25, 10, id="budget larger than the pool"),
]


@pytest.mark.parametrize("labeled", [LABELED, NO_LABELED, np.empty(0, np.float32)])
@pytest.mark.parametrize(("n", "budget", "expected"), EDGES)
def test_choose_edge_cases(n, budget, expected, labeled):
    for hardness in (None, np.linspace(0, 1, n)):
        example = pool(n, hardness=hardness)
        chosen = choose(example, labeled, budget, quotas={"night": 0.5}, seed=0)
        assert sorted(chosen.index) == list(range(n))[:expected]


def test_empty_pool_without_dimension_gives_advice():
    chosen = choose(pool(embeddings=np.empty((0, 0), np.float32), n=0), LABELED, 5, seed=0)
    assert chosen.advice == ("The pool is empty: it has no unlabeled samples to choose.",)


def test_identical_embeddings_leave_single_sample_and_random_arm():
    example = pool(200, embeddings=np.repeat(sphere(1), 200, axis=0))
    chosen = choose(example, LABELED, 20, seed=0)
    assert set(chosen.arm) == {"random"}
    alone = choose(example, LABELED, 20, random_share=0.0, seed=0)
    assert alone.index.tolist() == [int(example.hardness.argmax())]


def test_small_pool_gives_advice():
    chosen = choose(pool(100), LABELED, 40, seed=0)
    assert chosen.advice[0] == (
        "The pool holds 2.5 samples for each one to choose. Below 5, choosing can hardly do "
        "better than drawing at random."
    )


def test_gap_of_sampled_coverage_is_measured():
    example = pool(1000)
    chosen = choose(example, LABELED, 20, random_share=0.0, max_points=300, seed=0)
    assert 0 < chosen.gap < 0.3
    exact = choose(example, LABELED, 20, random_share=0.0, seed=0)
    rng = np.random.default_rng(0)
    sigma = coverage.bandwidth(LABELED, example.embeddings, rng)
    z, worth = example.embeddings, example.hardness
    gains = [
        coverage.NumpyCover(coverage.Problem(z[batch.index], z, worth, LABELED, sigma)).total_gain()
        for batch in (chosen, exact)
    ]
    assert gains[0] > 0.8 * gains[1]


REFUSED = [
    pytest.param({"budget": -1}, "budget must not be negative, got -1", id="budget"),
    pytest.param({"random_share": 1.2}, r"must be in \[0, 1\], got 1.2", id="share"),
    pytest.param({"quotas": {"nigth": 0.1}}, "Did you mean 'night'", id="misspelled slice"),
    pytest.param({"quotas": {"night": 0.0}}, r"must be in \(0, 1\], got 0.0", id="empty quota"),
    pytest.param({"labeled": sphere(3, 8)}, r"\(L, 16\).*got \(3, 8\)", id="another embedder"),
    pytest.param({"labeled": 2 * LABELED}, "labeled samples must have length 1", id="too long"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_invalid_arguments_are_refused(change, message):
    arguments = {"labeled": LABELED, "budget": 10, "seed": 0, **change}
    with pytest.raises(SelectionError, match=message):
        choose(pool(), arguments.pop("labeled"), arguments.pop("budget"), **arguments)


def test_choice_from_large_pool_is_fast_and_small():
    n = 20_000
    example = pool(n, d=64)
    labeled = sphere(500, 64, seed=4)
    tracemalloc.start()
    start = time.monotonic()
    chosen = choose(example, labeled, 200, quotas={"night": 0.2}, seed=0)
    elapsed_s = time.monotonic() - start
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert len(chosen) == 200
    assert peak < 400  # an N x N kernel would take 1,600 MiB
    assert elapsed_s < 60  # 1.2 s on two free cores
