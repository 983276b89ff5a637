"""Calibration: by hand on synthetic images, and Platt lines parsedst scikit-learn."""

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from cascade.errors import BadPredictionsError, CheckpointError
from cascade.fusion import calibration
from cascade.fusion.calibration import Calibration
from cascade.fusion.votes import Votes
from cascade.manifest import Fusion
from cascade.metrics.classification import ece
from cascade.predictions import Detections

CLASSES = ("cone", "drum", "vehicle")
DECIDING = ("cone", "drum")
LEFT = (0.1, 0.1, 0.3, 0.3)
RIGHT = (0.6, 0.6, 0.8, 0.8)
FITTED = Calibration(
    scaling={"a": {"*": (0.5, -1.0), "cone": (2.0, 0.25)}},
    silence={"a": 0.1},
    relevance={"cone": 1.0, "drum": 0.75},
    quality={"cone": 0.3},
    threshold=0.4,
)


def boxes(*rows, classes=CLASSES):
    """Return detections from `(corners, label, score)`."""
    return Detections(
        boxes_xyxy=np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        scores=np.array([row[2] for row in rows], np.float32),
        class_ids=np.array([classes.index(row[1]) for row in rows], np.int64),
        classes=classes,
    )


def truth_of(*rows):
    return boxes(*((corners, label, 1.0) for corners, label in rows))


def fit(members, truths, decision=None, competent=None, **options):
    n = len(truths)
    return calibration.fit(
        members,
        truths,
        CLASSES,
        DECIDING,
        decision=np.array([len(t) > 0 for t in truths], bool) if decision is None else decision,
        sizes_px=np.full((n, 2), 1000),
        competent=np.ones((len(members), 3), bool) if competent is None else competent,
        weights=np.ones(len(members)),
        fusion=Fusion(),
        **options,
    )


# --- the value -----------------------------------------------------------------------------


APPLIED = [
    pytest.param("b", "cone", 0.3, 0.3, id="member without scaling"),
    pytest.param("a", "cone", 0.5, 1 / (1 + exp(-0.25)), id="logit 0 leaves the intercept"),
    pytest.param("a", "drum", 0.8, 1 / (1 + exp(1 - 0.5 * log(4))), id="common line"),
    pytest.param("a", "drum", 0.0, 0.0, id="score of 0"),
    pytest.param("a", "cone", 1.0, 1.0, id="score of 1"),
]


@pytest.mark.parametrize(("member", "name", "score", "expected"), APPLIED)
def test_calibrate_scores_by_hand(member, name, score, expected):
    p = FITTED.calibrate_scores(member, [name], np.array([score]))
    assert p == pytest.approx([expected], abs=1e-3 if score in (0, 1) else 1e-9)
    assert 0 <= p[0] <= 1


def test_calibrate_scores_without_boxes():
    assert FITTED.calibrate_scores("a", [], np.zeros(0)).shape == (0,)


def test_calibrate_votes_uses_the_lines_of_each_member():
    detections = boxes((LEFT, "cone", 0.5), (RIGHT, "drum", 0.8))
    votes = Votes.collect({"b": [detections], "a": [detections]}, CLASSES)
    expected = [0.5, 0.8, 1 / (1 + exp(-0.25)), 1 / (1 + exp(1 - 0.5 * log(4)))]
    assert FITTED.calibrate_votes(votes).p == pytest.approx(expected, rel=1e-6)


def test_uncalibrated_is_empty():
    empty = Calibration.uncalibrated(deciding=DECIDING)
    assert empty.relevance == {"cone": 1.0, "drum": 1.0}
    assert (empty.scaling, empty.silence, empty.quality) == ({}, {}, {})
    assert empty.threshold == 0.5
    assert empty.calibrated_members == ()


def test_json_round_trip():
    parsed = Calibration.from_json(FITTED.to_json())
    assert parsed == FITTED
    assert parsed.to_json() == FITTED.to_json()
    assert parsed.identity == FITTED.identity
    assert hash(parsed) == hash(FITTED)
    assert len(FITTED.identity) == 16


def test_identity_depends_on_every_field():
    changed = [
        replace(FITTED, threshold=0.41),
        replace(FITTED, silence={}),
        replace(FITTED, relevance={"cone": 1.0}),
        replace(FITTED, quality={"drum": 0.3}),
        replace(FITTED, scaling={}),
    ]
    assert len({fitted.identity for fitted in (FITTED, *changed)}) == 6


MALFORMED = [
    pytest.param("{", "Invalid calibration", id="invalid JSON"),
    pytest.param("[]", "Invalid calibration", id="list"),
    pytest.param("{}", "Invalid calibration: KeyError", id="empty"),
    pytest.param('{"scaling": {}}', "Invalid calibration: TypeError", id="incomplete"),
    pytest.param(FITTED.to_json().replace("0.4", "1.4"), r"threshold .* got \[1.4\]", id="range"),
    pytest.param(FITTED.to_json().replace("0.1", "NaN"), r"silence .* got \[nan\]", id="NaN"),
    pytest.param(FITTED.to_json().replace("2.0", "-2.0"), "'cone' must be a slope", id="slope"),
    pytest.param(FITTED.to_json().replace('"*"', '"x"'), r"a line for '\*'", id="no common line"),
]


@pytest.mark.parametrize(("text", "message"), MALFORMED)
def test_invalid_json_raises(text, message):
    with pytest.raises(CheckpointError, match=message):
        Calibration.from_json(text)


# --- Platt scaling -------------------------------------------------------------------------


def member_with_line(slope, intercept, n, seed=0, label="cone"):
    """Return one box per image, true with p = sigmoid(slope · logit(score) + intercept)."""
    generator = np.random.default_rng(seed)
    scores = generator.uniform(0.02, 0.98, n)
    hit = generator.random(n) < expit(slope * logit(scores) + intercept)
    predictions = [
        boxes((LEFT if is_hit else RIGHT, label, score))
        for is_hit, score in zip(hit, scores, strict=True)
    ]
    return predictions, [truth_of((LEFT, label))] * n, scores, hit


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, -1.0), (2.0, 1.5)])
def test_fit_recovers_the_line_of_a_member(slope, intercept):
    predictions, truths, scores, hit = member_with_line(slope, intercept, n=3000)
    fitted = fit({"a": predictions}, truths)
    reference = LogisticRegression(C=1e6).fit(logit(scores)[:, None], hit)
    for name in ("*", "cone"):
        line = fitted.scaling["a"][name]
        assert line == pytest.approx((reference.coef_[0, 0], reference.intercept_[0]), abs=0.03)
        assert line == pytest.approx((slope, intercept), abs=0.2)
    p = fitted.calibrate_scores("a", ["cone"] * 3000, scores)
    assert ece(hit, p) < 0.04  # a perfect line has 0.02 to 0.03 on 200 images a bin
    if slope != 1.0:
        assert ece(hit, p) < 0.3 * ece(hit, scores)


def test_inverted_scores_get_a_constant_probability():
    predictions, truths, _, hit = member_with_line(-1.0, 0.5, n=500)
    fitted = fit({"a": predictions}, truths)
    slope, intercept = fitted.scaling["a"]["*"]
    assert slope == 0
    assert expit(intercept) == pytest.approx(hit.mean(), abs=0.01)


@pytest.mark.parametrize(("n", "calibrated"), [(9, ()), (10, ("a",))])
def test_member_with_few_true_boxes_is_not_scaled(n, calibrated):
    predictions = [boxes((LEFT, "cone", 0.4))] * n
    fitted = fit({"a": predictions}, [truth_of((LEFT, "cone"))] * n)
    assert fitted.calibrated_members == calibrated


@pytest.mark.parametrize(("n", "named"), [(99, {"*"}), (100, {"*", "cone"})])
def test_class_with_enough_true_boxes_gets_a_line(n, named):
    predictions = [boxes((LEFT, "cone", 0.4), (RIGHT, "drum", 0.9))] * n
    fitted = fit({"a": predictions}, [truth_of((LEFT, "cone"))] * n)
    assert set(fitted.scaling["a"]) == named


def test_ten_of_ten_is_not_certain():
    predictions = [boxes((LEFT, "cone", 0.5))] * 10
    slope, intercept = fit({"a": predictions}, [truth_of((LEFT, "cone"))] * 10).scaling["a"]["*"]
    assert slope == pytest.approx(1.0)
    assert expit(intercept) == pytest.approx(11 / 12, abs=0.01)  # Laplace's rule, not certainty


FINDS = [
    pytest.param([(LEFT, "cone", 0.5)], 1.0, id="right box and class"),
    pytest.param([(LEFT, "drum", 0.5)], 0.0, id="wrong class"),
    pytest.param([(RIGHT, "cone", 0.5)], 0.0, id="wrong place"),
    pytest.param(
        [(LEFT, "cone", 0.5), ((0.1, 0.1, 0.3, 0.29), "cone", 0.5)],
        1.0,
        id="duplicate is suppressed",
    ),
    pytest.param(
        [(LEFT, "cone", 0.5), ((0.1, 0.1, 0.3, 0.211), "cone", 0.5)],
        0.5,
        id="two boxes on one object",
    ),
]


@pytest.mark.parametrize(("predictions", "share"), FINDS)
def test_hits(predictions, share):
    """At score 0.5 the line is its intercept, so p is the share of true boxes."""
    hits = [boxes((LEFT, "cone", 0.5))] * 10  # enough for a line
    n = 1500
    fitted = fit({"a": hits + [boxes(*predictions)] * n}, [truth_of((LEFT, "cone"))] * (n + 10))
    p = fitted.calibrate_scores("a", ["drum"], np.array([0.5]))
    assert p == pytest.approx([share], abs=0.01)


# --- silence, relevance, quality, threshold --------------------------------------------------


def test_silence_is_the_share_of_missed_objects():
    seen, nothing = boxes((LEFT, "cone", 0.9)), boxes()
    truths = [truth_of((LEFT, "cone"))] * 30 + [truth_of()] * 10
    fitted = fit({"a": [seen] * 40, "b": [nothing] * 40}, truths)
    assert fitted.silence == {"a": 0.02, "b": pytest.approx(0.75)}


SILENT = [
    pytest.param(19, [True] * 3, 0.02, id="too few clusters"),
    pytest.param(20, [True] * 3, 1.0, id="enough clusters"),
    pytest.param(40, [False, True, True], 0.02, id="incompetent member"),
]


@pytest.mark.parametrize(("n", "words", "expected"), SILENT)
def test_silence_needs_evidence(n, words, expected):
    members = {"a": [boxes((LEFT, "cone", 0.9))] * n, "b": [boxes()] * n}
    competent = np.array([[True] * 3, words])
    fitted = fit(members, [truth_of((LEFT, "cone"))] * n, competent=competent)
    assert fitted.silence["b"] == expected


def test_silence_ignores_images_without_a_run():
    members = {"a": [boxes((LEFT, "cone", 0.9))] * 40, "b": [None] * 40}
    assert fit(members, [truth_of((LEFT, "cone"))] * 40).silence["b"] == 0.02


def test_relevance_is_the_smoothed_share_of_yes():
    truths = [truth_of((LEFT, "cone"), (RIGHT, "cone"))] * 3 + [truth_of((LEFT, "vehicle"))]
    fitted = fit({"a": [boxes()] * 4}, truths, decision=np.array([1, 1, 0, 0], bool))
    assert fitted.relevance == {"cone": pytest.approx(3 / 4), "drum": 1.0}


def test_quality_by_hand():
    low = (0.1, 0.1, 0.3, 0.26)  # IoU 0.8 with LEFT
    truths = [truth_of((LEFT, "cone")), truth_of((LEFT, "cone"), (RIGHT, "drum"))]
    predictions = [boxes((low, "cone", 0.7)), boxes((RIGHT, "cone", 0.9))]
    quality = fit({"a": predictions}, truths).quality
    assert quality["cone"] == pytest.approx((0.7**0.6 * 0.8**0.4 + 0) / 2, rel=1e-5)
    assert quality["drum"] == 0  # seen, but called a cone
    assert "vehicle" not in quality


def test_threshold_separates_the_decisions():
    faint, strong = boxes((LEFT, "cone", 0.2)), boxes((LEFT, "cone", 0.4))
    truths = [truth_of()] * 5 + [truth_of((LEFT, "cone"))] * 5
    fitted = fit({"a": [faint] * 5 + [strong] * 5}, truths)
    assert fitted.threshold == pytest.approx(0.3)


def test_threshold_with_one_class_is_one_half():
    assert fit({"a": [boxes((LEFT, "cone", 0.2))]}, [truth_of((LEFT, "cone"))]).threshold == 0.5


def test_calibration_corrects_low_scores():
    """True boxes with scores of 0.1 get a high probability."""
    timid = [boxes((LEFT, "cone", 0.1))] * 200 + [boxes((LEFT, "cone", 0.02))] * 200
    truths = [truth_of((LEFT, "cone"))] * 200 + [truth_of()] * 200
    fitted = fit({"a": timid}, truths)
    p = fitted.calibrate_scores("a", ["cone", "cone"], np.array([0.1, 0.02]))
    assert p[0] > 0.9
    assert p[1] < 0.1


# --- edges -----------------------------------------------------------------------------------


def test_fit_without_images_is_uncalibrated():
    fitted = fit({"a": [], "b": []}, [])
    expected = replace(Calibration.uncalibrated(DECIDING), silence={"a": 0.02, "b": 0.02})
    assert fitted == expected


def test_fit_without_boxes():
    fitted = fit({"a": [boxes()] * 3}, [truth_of()] * 3)
    assert fitted.calibrated_members == ()
    assert fitted.quality == {}


def test_fit_with_different_numbers_of_images_raises():
    with pytest.raises(BadPredictionsError, match=r"same number of images, got \[1, 2\]"):
        fit({"a": [boxes()]}, [truth_of()] * 2)


def test_labels_outside_the_taxonomy_are_ignored():
    tree = boxes((LEFT, "tree", 0.9), classes=("tree",))
    fitted = fit({"a": [tree] * 40}, [truth_of((LEFT, "cone"))] * 40)
    assert fitted.calibrated_members == ()
    assert fitted.quality == {"cone": 0.0}
