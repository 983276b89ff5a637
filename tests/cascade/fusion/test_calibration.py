"""Calibration: by hand on built images, and Platt lines against scikit-learn."""

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
HERE = (0.1, 0.1, 0.3, 0.3)
THERE = (0.6, 0.6, 0.8, 0.8)
FITTED = Calibration(
    scaling={"a": {"*": (0.5, -1.0), "cone": (2.0, 0.25)}},
    silence={"a": 0.1},
    relevance={"cone": 1.0, "drum": 0.75},
    quality={"cone": 0.3},
    threshold=0.4,
)


def boxes(*rows, classes=CLASSES):
    """Detections from `(corners, label, score)`."""
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
    pytest.param("b", "cone", 0.3, 0.3, id="an unknown member's score is its probability"),
    pytest.param("a", "cone", 0.5, 1 / (1 + exp(-0.25)), id="logit 0 leaves the intercept"),
    pytest.param("a", "drum", 0.8, 1 / (1 + exp(1 - 0.5 * log(4))), id="no own line: that of *"),
    pytest.param("a", "drum", 0.0, 0.0, id="a score of 0 is next to 0"),
    pytest.param("a", "cone", 1.0, 1.0, id="a score of 1 is next to 1"),
]


@pytest.mark.parametrize(("member", "name", "score", "expected"), APPLIED)
def test_apply_by_hand(member, name, score, expected):
    p = FITTED.apply(member, [name], np.array([score]))
    assert p == pytest.approx([expected], abs=1e-3 if score in (0, 1) else 1e-9)
    assert 0 <= p[0] <= 1


def test_apply_to_no_boxes():
    assert FITTED.apply("a", [], np.zeros(0)).shape == (0,)


def test_of_scales_each_member_by_its_own_lines():
    one = boxes((HERE, "cone", 0.5), (THERE, "drum", 0.8))
    votes = Votes.collect({"b": [one], "a": [one]}, CLASSES)
    expected = [0.5, 0.8, 1 / (1 + exp(-0.25)), 1 / (1 + exp(1 - 0.5 * log(4)))]
    assert FITTED.of(votes).p == pytest.approx(expected, rel=1e-6)


def test_uncalibrated_is_the_natural_empty():
    empty = Calibration.uncalibrated(deciding=DECIDING)
    assert empty.relevance == {"cone": 1.0, "drum": 1.0}
    assert (empty.scaling, empty.silence, empty.quality) == ({}, {}, {})
    assert empty.threshold == 0.5
    assert empty.calibrated_members == ()


def test_json_there_and_back():
    again = Calibration.from_json(FITTED.to_json())
    assert again == FITTED
    assert again.to_json() == FITTED.to_json()
    assert again.identity == FITTED.identity
    assert hash(again) == hash(FITTED)
    assert len(FITTED.identity) == 16


def test_any_change_is_another_identity():
    changed = [
        replace(FITTED, threshold=0.41),
        replace(FITTED, silence={}),
        replace(FITTED, relevance={"cone": 1.0}),
        replace(FITTED, quality={"drum": 0.3}),
        replace(FITTED, scaling={}),
    ]
    assert len({one.identity for one in (FITTED, *changed)}) == 6


MALFORMED = [
    pytest.param("{", "no calibration", id="no JSON"),
    pytest.param("[]", "no calibration", id="no object"),
    pytest.param("{}", "no calibration: KeyError", id="empty"),
    pytest.param('{"scaling": {}}', "no calibration: TypeError", id="half of it"),
    pytest.param(FITTED.to_json().replace("0.4", "1.4"), r"threshold .* got \[1.4\]", id="range"),
    pytest.param(FITTED.to_json().replace("0.1", "NaN"), r"silence .* got \[nan\]", id="NaN"),
    pytest.param(FITTED.to_json().replace("2.0", "-2.0"), "'cone' must be a slope", id="slope"),
    pytest.param(FITTED.to_json().replace('"*"', '"x"'), r"a line for '\*'", id="no common line"),
]


@pytest.mark.parametrize(("text", "message"), MALFORMED)
def test_what_is_no_calibration_is_refused(text, message):
    with pytest.raises(CheckpointError, match=message):
        Calibration.from_json(text)


# --- Platt scaling -------------------------------------------------------------------------


def member_with_line(slope, intercept, n, seed=0, label="cone"):
    """One box an image, true with p = sigmoid(slope · logit(score) + intercept)."""
    generator = np.random.default_rng(seed)
    scores = generator.uniform(0.02, 0.98, n)
    hit = generator.random(n) < expit(slope * logit(scores) + intercept)
    found = [boxes((HERE if yes else THERE, label, s)) for yes, s in zip(hit, scores, strict=True)]
    return found, [truth_of((HERE, label))] * n, scores, hit


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, -1.0), (2.0, 1.5)])
def test_the_line_of_a_member_is_found(slope, intercept):
    found, truths, scores, hit = member_with_line(slope, intercept, n=3000)
    fitted = fit({"a": found}, truths)
    reference = LogisticRegression(C=1e6).fit(logit(scores)[:, None], hit)
    for name in ("*", "cone"):
        line = fitted.scaling["a"][name]
        assert line == pytest.approx((reference.coef_[0, 0], reference.intercept_[0]), abs=0.03)
        assert line == pytest.approx((slope, intercept), abs=0.2)
    p = fitted.apply("a", ["cone"] * 3000, scores)
    assert ece(hit, p) < 0.04  # a perfect line has 0.02 to 0.03 on 200 images a bin
    if slope != 1.0:
        assert ece(hit, p) < 0.3 * ece(hit, scores)


def test_a_member_whose_surer_boxes_are_worse_gets_one_probability():
    found, truths, _, hit = member_with_line(-1.0, 0.5, n=500)
    fitted = fit({"a": found}, truths)
    slope, intercept = fitted.scaling["a"]["*"]
    assert slope == 0
    assert expit(intercept) == pytest.approx(hit.mean(), abs=0.01)


@pytest.mark.parametrize(("n", "calibrated"), [(9, ()), (10, ("a",))])
def test_a_member_with_few_true_boxes_is_taken_as_it_is(n, calibrated):
    found = [boxes((HERE, "cone", 0.4))] * n
    fitted = fit({"a": found}, [truth_of((HERE, "cone"))] * n)
    assert fitted.calibrated_members == calibrated


@pytest.mark.parametrize(("n", "named"), [(99, {"*"}), (100, {"*", "cone"})])
def test_a_class_with_enough_true_boxes_has_its_own_line(n, named):
    found = [boxes((HERE, "cone", 0.4), (THERE, "drum", 0.9))] * n
    fitted = fit({"a": found}, [truth_of((HERE, "cone"))] * n)
    assert set(fitted.scaling["a"]) == named


def test_ten_of_ten_is_not_certain():
    found = [boxes((HERE, "cone", 0.5))] * 10
    slope, intercept = fit({"a": found}, [truth_of((HERE, "cone"))] * 10).scaling["a"]["*"]
    assert slope == pytest.approx(1.0)
    assert expit(intercept) == pytest.approx(11 / 12, abs=0.01)  # Laplace's rule, not certainty


FINDS = [
    pytest.param([(HERE, "cone", 0.5)], 1.0, id="the right box of the right class"),
    pytest.param([(HERE, "drum", 0.5)], 0.0, id="the wrong class is false"),
    pytest.param([(THERE, "cone", 0.5)], 0.0, id="the wrong place is false"),
    pytest.param(
        [(HERE, "cone", 0.5), ((0.1, 0.1, 0.3, 0.29), "cone", 0.5)],
        1.0,
        id="a double is left out before anything is counted",
    ),
    pytest.param(
        [(HERE, "cone", 0.5), ((0.1, 0.1, 0.3, 0.211), "cone", 0.5)],
        0.5,
        id="two boxes on one object: one is false",
    ),
]


@pytest.mark.parametrize(("found", "share"), FINDS)
def test_what_counts_as_found(found, share):
    """At score 0.5 the line is its intercept, so p is the share of true boxes."""
    always = [boxes((HERE, "cone", 0.5))] * 10  # so that there is a line at all
    n = 1500
    fitted = fit({"a": always + [boxes(*found)] * n}, [truth_of((HERE, "cone"))] * (n + 10))
    p = fitted.apply("a", ["drum"], np.array([0.5]))
    assert p == pytest.approx([share], abs=0.01)


# --- silence, relevance, quality, threshold --------------------------------------------------


def test_silence_is_the_share_of_objects_among_what_only_others_see():
    seen, nothing = boxes((HERE, "cone", 0.9)), boxes()
    truths = [truth_of((HERE, "cone"))] * 30 + [truth_of()] * 10
    fitted = fit({"a": [seen] * 40, "b": [nothing] * 40}, truths)
    assert fitted.silence == {"a": 0.02, "b": pytest.approx(0.75)}


SILENT = [
    pytest.param(19, [True] * 3, 0.02, id="19 clusters are too few"),
    pytest.param(20, [True] * 3, 1.0, id="20 clusters are enough"),
    pytest.param(40, [False, True, True], 0.02, id="who has no word for it is not silent"),
]


@pytest.mark.parametrize(("n", "words", "expected"), SILENT)
def test_silence_needs_evidence(n, words, expected):
    members = {"a": [boxes((HERE, "cone", 0.9))] * n, "b": [boxes()] * n}
    competent = np.array([[True] * 3, words])
    fitted = fit(members, [truth_of((HERE, "cone"))] * n, competent=competent)
    assert fitted.silence["b"] == expected


def test_who_did_not_run_is_not_silent():
    members = {"a": [boxes((HERE, "cone", 0.9))] * 40, "b": [None] * 40}
    assert fit(members, [truth_of((HERE, "cone"))] * 40).silence["b"] == 0.02


def test_relevance_is_the_share_of_yes_with_one_image_of_faith():
    truths = [truth_of((HERE, "cone"), (THERE, "cone"))] * 3 + [truth_of((HERE, "vehicle"))]
    fitted = fit({"a": [boxes()] * 4}, truths, decision=np.array([1, 1, 0, 0], bool))
    assert fitted.relevance == {"cone": pytest.approx(3 / 4), "drum": 1.0}


def test_quality_by_hand():
    low = (0.1, 0.1, 0.3, 0.26)  # IoU 0.8 with HERE
    truths = [truth_of((HERE, "cone")), truth_of((HERE, "cone"), (THERE, "drum"))]
    found = [boxes((low, "cone", 0.7)), boxes((THERE, "cone", 0.9))]
    quality = fit({"a": found}, truths).quality
    assert quality["cone"] == pytest.approx((0.7**0.6 * 0.8**0.4 + 0) / 2, rel=1e-5)
    assert quality["drum"] == 0  # seen, but called a cone
    assert "vehicle" not in quality


def test_the_threshold_separates_the_decisions():
    faint, strong = boxes((HERE, "cone", 0.2)), boxes((HERE, "cone", 0.4))
    truths = [truth_of()] * 5 + [truth_of((HERE, "cone"))] * 5
    fitted = fit({"a": [faint] * 5 + [strong] * 5}, truths)
    assert fitted.threshold == pytest.approx(0.3)


def test_one_class_keeps_the_threshold_at_a_half():
    assert fit({"a": [boxes((HERE, "cone", 0.2))]}, [truth_of((HERE, "cone"))]).threshold == 0.5


def test_calibrating_helps_the_decision_of_a_timid_member():
    """A member whose true boxes score 0.1 says no by itself; calibrated it is heard."""
    timid = [boxes((HERE, "cone", 0.1))] * 200 + [boxes((HERE, "cone", 0.02))] * 200
    truths = [truth_of((HERE, "cone"))] * 200 + [truth_of()] * 200
    fitted = fit({"a": timid}, truths)
    p = fitted.apply("a", ["cone", "cone"], np.array([0.1, 0.02]))
    assert p[0] > 0.9
    assert p[1] < 0.1


# --- edges -----------------------------------------------------------------------------------


def test_no_images_is_uncalibrated_but_for_the_silence():
    fitted = fit({"a": [], "b": []}, [])
    expected = replace(Calibration.uncalibrated(DECIDING), silence={"a": 0.02, "b": 0.02})
    assert fitted == expected


def test_images_without_any_box():
    fitted = fit({"a": [boxes()] * 3}, [truth_of()] * 3)
    assert fitted.calibrated_members == ()
    assert fitted.quality == {}


def test_different_numbers_of_images_are_refused():
    with pytest.raises(BadPredictionsError, match=r"same images, got \[1, 2\]"):
        fit({"a": [boxes()]}, [truth_of()] * 2)


def test_labels_outside_the_taxonomy_are_ignored():
    stranger = boxes((HERE, "tree", 0.9), classes=("tree",))
    fitted = fit({"a": [stranger] * 40}, [truth_of((HERE, "cone"))] * 40)
    assert fitted.calibrated_members == ()
    assert fitted.quality == {"cone": 0.0}
