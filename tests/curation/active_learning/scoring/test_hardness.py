"""Hardness against known numbers, scipy, and a slow reference."""

from itertools import combinations
from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from cascade.fusion.consensus import Clusters
from curation.active_learning.scoring import hardness

NAN = np.nan
CLASSES = ("cone", "drum", "sign")
BOX = (0.1, 0.1, 0.3, 0.3)
PROBABILITY = st.floats(0.0, 1.0, allow_nan=False)


def clusters(p, *, image=None, votes=None, class_votes=None, boxes=None, weights=None, n=None):
    """Clusters with the given (K, M) probabilities; members with a box have no NaN in `boxes`."""
    p = np.asarray(p, float)
    k, m = p.shape
    image = np.zeros(k, int) if image is None else np.asarray(image)
    weights = np.ones(m) if weights is None else np.asarray(weights, float)
    boxes = np.full((k, m, 4), NAN) if boxes is None else np.asarray(boxes, float)
    voice = np.isfinite(p) * weights
    mean = (voice * np.nan_to_num(p)).sum(axis=1) / voice.sum(axis=1)
    class_votes = np.tile([1.0, 0, 0], (k, 1)) if class_votes is None else np.asarray(class_votes)
    present = np.isfinite(boxes[..., 0]).sum(axis=1)
    return Clusters(
        image=image,
        boxes_xyxy=np.tile(BOX, (k, 1)),
        class_id=class_votes.argmax(axis=1),
        p_members=p,
        p_mean=mean,
        p_fused=mean,
        votes=present if votes is None else np.asarray(votes),
        agreement=np.ones(k),
        class_votes=class_votes,
        member_boxes=boxes,
        n_images=int(image.max(initial=-1)) + 1 if n is None else n,
        members=tuple(f"m{i}" for i in range(m)),
        classes=CLASSES,
        weights=weights,
    )


def random_clusters(seed, k=200, m=4, n=40):
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.02, 0.98, (k, m))
    abstains = rng.random((k, m)) < 0.3
    abstains[np.arange(k), rng.integers(m, size=k)] = False
    p[abstains] = NAN
    corner = rng.uniform(0, 0.5, (k, 1, 2)) + rng.uniform(0, 0.1, (k, m, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.05, 0.4, (k, m, 2))], axis=2)
    boxes[abstains | (rng.random((k, m)) < 0.4)] = NAN
    class_votes = rng.random((k, 3)) * (rng.random((k, 3)) < 0.6)
    class_votes[class_votes.sum(axis=1) == 0, 0] = 1.0
    return clusters(
        p,
        image=np.sort(rng.integers(n, size=k)),
        class_votes=class_votes,
        boxes=boxes,
        weights=rng.uniform(0.5, 2, m),
        n=n + 3,
    )


EXISTENCE = [
    pytest.param([[0.0, 1.0]], [1.0], id="opposite certainty is one bit"),
    pytest.param([[0.9, 0.9, 0.9]], [0.0], id="agreement is zero"),
    pytest.param([[0.5, 0.5]], [0.0], id="agreement on 0.5 is zero"),
    pytest.param([[1.0, 0.5]], [0.311278], id="H(3/4) - H(1/2)/2"),
    pytest.param([[0.9, NAN]], [NAN], id="single voter is undefined"),
    pytest.param(np.empty((0, 2)), [], id="no cluster"),
]


@pytest.mark.parametrize(("p", "expected"), EXISTENCE)
def test_existence_disagreement(p, expected):
    assert hardness.components(clusters(p), {}).existence == pytest.approx(
        expected, abs=1e-6, nan_ok=True
    )


def test_disagreement_uses_voter_weights():
    # Mean .75 with weights 3:1, both sure: H(.75) = .811278 bits.
    value = hardness.disagreement(np.array([[1.0, 0.0]]), np.array([3.0, 1.0]))
    assert value == pytest.approx([0.811278], abs=1e-6)


CLASS_VOTES = [
    pytest.param([1.0, 1.0, 0.0], 2, 1.0, id="two votes for two classes"),
    pytest.param([2.0, 0.0, 0.0], 2, 0.0, id="two votes for one class"),
    pytest.param([3.0, 1.0, 0.0], 4, 0.562335 / log(3), id="at most three classes for four votes"),
    pytest.param([1.0, 0.0, 0.0], 1, NAN, id="single vote is undefined"),
]


@pytest.mark.parametrize(("votes", "number", "expected"), CLASS_VOTES)
def test_class_disagreement(votes, number, expected):
    parts = hardness.components(clusters([[0.5, 0.5]], class_votes=[votes], votes=[number]), {})
    assert parts.class_ == pytest.approx([expected], abs=1e-6, nan_ok=True)


def test_hardness_grows_with_class_disagreement():
    shares = np.array([[10.0, 0.0, 0.0], [9.0, 1.0, 0.0], [6.0, 4.0, 0.0], [4.0, 3.0, 3.0]])
    boxes = np.tile(BOX, (4, 3, 1))
    same = clusters(np.full((4, 3), 0.5), class_votes=shares, boxes=boxes)
    assert (np.diff(hardness.components(same, {}).total) > 0).all()


BOXES = [
    pytest.param([(0, 0, 1, 1), (0, 0, 1, 1)], 0.0, id="equal boxes"),
    pytest.param([(0, 0, 0.2, 0.2), (0.5, 0.5, 1, 1)], 1.0, id="apart"),
    pytest.param([(0, 0, 1, 1), (0, 0, 0.5, 1)], 0.5, id="half overlap"),
    pytest.param([(0, 0, 1, 1), (NAN,) * 4], NAN, id="single box is undefined"),
    pytest.param([(0.2, 0.2, 0.2, 0.2)] * 2, 1.0, id="boxes without area do not overlap"),
]


@pytest.mark.parametrize(("boxes", "expected"), BOXES)
def test_location_disagreement(boxes, expected):
    parts = hardness.components(clusters([[0.5, 0.5]], boxes=[boxes]), {})
    assert parts.location == pytest.approx([expected], nan_ok=True)


DIFFICULTY = [
    pytest.param({}, 1.0, id="unknown is hardest"),
    pytest.param({"cone": 0.0}, 1.0, id="never detected is hardest"),
    pytest.param({"cone": 1.0}, 1 / 1.2, id="always detected is easiest"),
    pytest.param(
        {"cone": 0.5}, (1 + 0.06 * log(1 + (exp(1 / 0.3) - 1) * 0.5)) / 1.2, id="half detected"
    ),
]


@pytest.mark.parametrize(("quality", "expected"), DIFFICULTY)
def test_difficulty(quality, expected):
    assert hardness.difficulty(CLASSES, quality)[0] == pytest.approx(expected)


def test_single_voter_uses_margin_only():
    parts = hardness.components(clusters([[0.6, NAN], [0.95, NAN]]), {"cone": 1.0})
    assert parts.total == pytest.approx([0.8 / 1.2, 0.1 / 1.2])
    assert parts.n_voters.tolist() == [1, 1]


def test_total_mixes_defined_components():
    # MI of (1, 0) is 1, one box only, margin of .5 is 1: all that is defined is 1.
    parts = hardness.components(clusters([[1.0, 0.0]]), {})
    assert parts.total == pytest.approx([1.0])
    # MI 0, margin .2, neither class nor location: .1 * .2 / .6
    parts = hardness.components(clusters([[0.9, 0.9]]), {})
    assert parts.total == pytest.approx([0.1 * 0.2 / 0.6])


def _slowly(c, quality):
    """Yield (MI, CE, LV, MG, h) of each cluster, by the formulas."""
    for k in range(len(c.image)):
        voters = [m for m in range(len(c.members)) if not np.isnan(c.p_members[k, m])]
        w = [c.weights[m] for m in voters]
        p = [c.p_members[k, m] for m in voters]
        mean = sum(a * b for a, b in zip(w, p, strict=True)) / sum(w)
        bits = [scipy_entropy([x, 1 - x], base=2) for x in (mean, *p)]
        own = sum(a * b for a, b in zip(w, bits[1:], strict=True)) / sum(w)
        mi = bits[0] - own if len(voters) >= 2 else NAN
        shares = c.class_votes[k] / c.class_votes[k].sum()
        most = min(max(c.votes[k], (shares > 0).sum()), len(c.classes))
        ce = scipy_entropy(shares) / log(most) if c.votes[k] >= 2 and most >= 2 else NAN
        boxes = [b for b in c.member_boxes[k] if not np.isnan(b[0])]
        overlaps = [_iou(a, b) for a, b in combinations(boxes, 2)]
        lv = 1 - np.mean(overlaps) if overlaps else NAN
        mg = 1 - abs(2 * mean - 1)
        lack = 1 - quality.get(c.classes[c.class_id[k]], 0)
        weight = (1 + 0.06 * log(1 + (exp(1 / 0.3) - 1) * lack)) / 1.2
        parts = zip((0.5, 0.2, 0.2, 0.1), (mi, ce, lv, mg), strict=True)
        defined = [(a, x) for a, x in parts if not np.isnan(x)]
        total = weight * sum(a * x for a, x in defined) / sum(a for a, _ in defined)
        yield mi, ce, lv, mg, total


def _iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@pytest.mark.parametrize("seed", range(5))
def test_components_equal_slow_reference(seed):
    example, quality = random_clusters(seed), {"cone": 0.7, "drum": 0.1}
    parts = hardness.components(example, quality)
    slow = np.array(list(_slowly(example, quality)))
    fast = np.stack([parts.existence, parts.class_, parts.location, parts.margin, parts.total])
    np.testing.assert_allclose(fast.T, slow, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_image_hardness_equals_slow_reference(seed):
    example = random_clusters(seed)
    parts = hardness.components(example, {})
    pool = np.random.default_rng(seed).random(example.n_images) < 0.8
    images = hardness.image_hardness(parts, example, in_pool=pool)
    for x in range(example.n_images):
        rows = [k for k in range(len(example.image)) if example.image[k] == x]
        hardest = max(rows, key=lambda k: parts.total[k], default=-1)
        assert images.hardest[x] == hardest
        assert images.detection[x] == (parts.total[hardest] if rows else 0.0)
        assert images.margin[x] == pytest.approx(parts.margin[hardest] if rows else NAN, nan_ok=1)
        below = sum(images.detection[pool] < images.detection[x])
        equal = sum(images.detection[pool] == images.detection[x])
        rank = (below + (equal - 1) / 2) / (pool.sum() - 1)
        assert images.hardness[x] == pytest.approx(rank if pool[x] else NAN, nan_ok=True)


@given(st.lists(st.lists(PROBABILITY, min_size=3, max_size=3), min_size=1, max_size=8))
def test_components_are_in_range(p):
    parts = hardness.components(clusters(p), {"cone": 0.4})
    for values in (parts.existence, parts.margin, parts.total):
        assert ((values >= 0) & (values <= 1)).all()


@given(PROBABILITY, st.integers(2, 6))
def test_equal_probabilities_have_no_disagreement(p, members):
    value = hardness.disagreement(np.full((1, members), p))
    assert value == pytest.approx([0.0], abs=1e-12)


@given(st.floats(0.3, 0.7), st.floats(0.0, 0.14), st.floats(0.01, 0.14))
def test_disagreement_grows_with_distance(middle, apart, further):
    near = np.array([[middle - apart, middle + apart]])
    far = np.array([[middle - apart - further, middle + apart + further]])
    assert hardness.disagreement(far) > hardness.disagreement(near)


def test_many_easy_clusters_are_easier_than_one_hard_cluster():
    p = [[0.95, 0.95]] * 20 + [[0.9, 0.1]]
    example = clusters(p, image=[0] * 20 + [1])
    images = hardness.image_hardness(
        hardness.components(example, {}), example, in_pool=np.ones(2, bool)
    )
    assert images.hardness.tolist() == [0.0, 1.0]


RANKS = [
    pytest.param([3.0, 1.0, 2.0], [True] * 3, [1.0, 0.0, 0.5], id="from 0 to 1"),
    pytest.param([1.0, 1.0, 5.0], [True] * 3, [0.25, 0.25, 1.0], id="ties are averaged"),
    pytest.param([7.0, 7.0], [True] * 2, [0.5, 0.5], id="all equal are in the middle"),
    pytest.param([7.0], [True], [0.5], id="single value is in the middle"),
    pytest.param([1.0, 2.0, 3.0], [True, False, True], [0.0, NAN, 1.0], id="outside has no rank"),
    pytest.param([1.0, NAN, 3.0], [True] * 3, [0.0, NAN, 1.0], id="undefined has no rank"),
    pytest.param([], [], [], id="nothing to rank"),
]


@pytest.mark.parametrize(("values", "mask", "expected"), RANKS)
def test_ranks(values, mask, expected):
    ranks = hardness.ranks(np.array(values, float), np.array(mask, bool))
    assert ranks == pytest.approx(expected, nan_ok=True)


def test_disagreeing_sources_raise_hardness():
    # U_det ranks 0, .5, 1; MI of the sources 1 bit, undefined, 0: ranks 1, -, 0.
    example = clusters([[0.98, 0.98], [0.9, 0.9], [0.6, 0.6]], image=[0, 1, 2])
    sources = np.array([[0.0, 1.0], [0.5, NAN], [0.5, 0.5]])
    images = hardness.image_hardness(
        hardness.components(example, {}), example, in_pool=np.ones(3, bool), sources=sources
    )
    assert images.image == pytest.approx([1.0, NAN, 0.0], nan_ok=True)
    assert images.hardness == pytest.approx([0.4, 0.5, 0.6])


def test_contradiction_has_minimum_hardness():
    example = clusters([[0.98, 0.98], [0.5, 0.1], [0.98, 0.98]], image=[0, 1, 2])
    flags = hardness.contradictions(np.array([0.05, 0.5, 0.95]), np.array([0.9, 0.1, NAN]))
    assert flags.tolist() == [True, False, False]
    pool = np.ones(3, bool)
    parts = hardness.components(example, {})
    images = hardness.image_hardness(parts, example, in_pool=pool, contradiction=flags)
    assert images.hardness == pytest.approx([0.9, 1.0, 0.25])


CONTRADICTIONS = [
    pytest.param(0.05, 0.9, True, id="claims an undetected object"),
    pytest.param(0.95, 0.1, True, id="denies a certain detection"),
    pytest.param(0.5, 0.9, False, id="uncertain detectors"),
    pytest.param(0.05, 0.1, False, id="both say no"),
    pytest.param(0.05, NAN, False, id="no answer"),
]


@pytest.mark.parametrize(("p_detection", "p_language", "expected"), CONTRADICTIONS)
def test_contradictions(p_detection, p_language, expected):
    flags = hardness.contradictions(np.array([p_detection]), np.array([p_language]))
    assert flags.tolist() == [expected]


def test_images_without_clusters_are_easiest():
    example = clusters([[0.5, 0.5]], image=[1], n=4)
    images = hardness.image_hardness(
        hardness.components(example, {}), example, in_pool=np.array([True, True, True, False])
    )
    assert images.detection.tolist() == [0.0, pytest.approx(1 / 6), 0.0, 0.0]
    assert images.hardness == pytest.approx([0.25, 1.0, 0.25, NAN], nan_ok=True)
    assert images.hardest.tolist() == [-1, 0, -1, -1]
    assert images.n_voters.tolist() == [0, 2, 0, 0]
    assert np.isnan(images.existence[[0, 2, 3]]).all()


def test_no_images():
    none = clusters(np.empty((0, 2)), n=0)
    images = hardness.image_hardness(hardness.components(none, {}), none, in_pool=np.ones(0, bool))
    assert len(images.hardness) == 0
