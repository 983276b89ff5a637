import numpy as np
import pytest
from scipy.special import expit, logit

from cascade import manifest as manifests
from cascade import taxonomy, voting
from cascade.calibration import Calibration
from cascade.ensemble import Ensemble
from cascade.predictions import Detections
from cascade.run import Failure

ROADWORK = taxonomy.load("roadwork")
CONE = (0.1, 0.1, 0.3, 0.5)
CAR = (0.6, 0.2, 0.9, 0.6)
SIZE = (400, 600)


def said(*rows, words=("traffic cone", "car", "giraffe")):
    """Return boxes from rows of (word, box, score), in a member's own words."""
    return Detections(
        boxes_xyxy=np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
        scores=np.array([row[2] for row in rows], np.float32),
        class_ids=np.array([words.index(row[0]) for row in rows], np.int64),
        classes=words,
    )


def truth(*rows):
    return said(*((*row, 1.0) for row in rows), words=ROADWORK.names)


def ensemble_of(**vocabularies):
    """Return an ensemble of equal voices that can name these words."""
    rows = "\n".join(
        f"  - {{name: {name}, tier: detection, adapter: center_point, licence: MIT, "
        f"vocabulary: [{', '.join(words)}]}}"
        for name, words in vocabularies.items()
    )
    return Ensemble.from_manifest(manifests.parse(f"name: test\nmembers:\n{rows}\n"))


BOTH = ensemble_of(a=["cone", "vehicle"], b=["cone", "vehicle"])


def conclude(rows, ensemble):
    sizes = np.array([SIZE] * len(rows))
    return voting.conclude(voting.gather(rows, ensemble), ensemble, sizes)


def test_words_become_classes_and_unknown_ones_are_dropped():
    found = voting.canonical(
        said(("giraffe", CAR, 0.9), ("traffic cone", CONE, 0.8), ("car", CAR, 0.7)), ROADWORK
    )
    assert found.labels == ["cone", "vehicle"]
    assert found.scores.tolist() == pytest.approx([0.8, 0.7])
    assert found.boxes_xyxy.tolist() == [pytest.approx(CONE), pytest.approx(CAR)]


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(said(), id="no boxes"),
        pytest.param(Detections.empty(), id="no boxes and no words"),
        pytest.param(said(("giraffe", CAR, 0.9)), id="unknown words only"),
    ],
)
def test_nothing_known_is_an_empty_answer_in_canonical_classes(found):
    empty = voting.canonical(found, ROADWORK)
    assert len(empty) == 0
    assert empty.classes == ROADWORK.names


def test_votes_are_gathered_by_image_and_member():
    rows = [{"a": said(("car", CAR, 0.6))}, {"a": said(), "b": said(("traffic cone", CONE, 0.9))}]
    votes = voting.gather(rows, BOTH)
    assert votes.image.tolist() == [0, 1]
    assert votes.member.tolist() == [0, 1]
    assert votes.p.tolist() == pytest.approx([0.6, 0.9])
    assert votes.ran.tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize(
    "absent",
    [
        pytest.param({}, id="did not run"),
        pytest.param({"b": Failure("RuntimeError", "out of memory")}, id="failed"),
        pytest.param({"b": None}, id="has no answer"),
    ],
)
def test_a_member_that_did_not_answer_does_not_vote(absent):
    _, decisions = conclude([{"a": said(("traffic cone", CONE, 0.8)), **absent}], BOTH)
    assert decisions.n_voters.tolist() == [1]
    assert decisions.p[0] == pytest.approx(0.8)  # the other's silence is no "no"
    assert np.isnan(decisions.p_members[0, 1])


def test_a_member_that_looked_and_saw_nothing_votes_no():
    row = {"a": said(("traffic cone", CONE, 0.8)), "b": said()}
    clusters, decisions = conclude([row], BOTH)
    assert decisions.n_voters.tolist() == [2]
    assert clusters.p_fused[0] == pytest.approx(expit((logit(0.8) + logit(0.02)) / 2))
    assert decisions.p[0] == pytest.approx(expit((logit(0.8) + logit(0.02)) / 2))


def test_a_member_abstains_on_what_it_cannot_name():
    ensemble = ensemble_of(a=["cone", "vehicle"], cars_only=["vehicle"])
    row = {"a": said(("traffic cone", CONE, 0.8), ("car", CAR, 0.9)), "cars_only": said()}
    clusters, decisions = conclude([row], ensemble)
    cone, car = (
        list(clusters.class_id).index(ROADWORK.names.index(n)) for n in ("cone", "vehicle")
    )
    assert np.isnan(clusters.p_members[cone, 1])
    assert clusters.p_members[car, 1] == pytest.approx(0.02)
    assert decisions.n_voters.tolist() == [1]
    assert decisions.p[0] == pytest.approx(0.8)


def test_a_vehicle_decides_nothing():
    _, decisions = conclude([{"a": said(("car", CAR, 0.9)), "b": said(("car", CAR, 0.9))}], BOTH)
    assert decisions.p[0] == pytest.approx(0.02)


def test_where_nobody_ran_there_is_no_probability():
    clusters, decisions = conclude([{}, {"a": said()}], BOTH)
    assert len(clusters) == 0
    assert np.isnan(decisions.p[0])
    assert decisions.n_voters.tolist() == [0, 1]


def test_calibration_is_applied_to_the_votes_and_to_silence():
    fitted = Calibration(
        scaling={"a": {"*": (2.0, 1.0)}},
        silence={"b": 0.3},
        relevance={"cone": 0.5},
        quality={},
        threshold=0.4,
    )
    row = {"a": said(("traffic cone", CONE, 0.6)), "b": said()}
    clusters, decisions = conclude([row], BOTH.with_calibration(fitted))
    p_a = expit(2 * logit(0.6) + 1)
    assert clusters.p_members[0].tolist() == pytest.approx([p_a, 0.3])
    assert decisions.p_members[0].tolist() == pytest.approx([0.5 * p_a, 0.5 * 0.3])


def test_fused_boxes_come_back_image_by_image():
    rows = [
        {"a": said(("car", CAR, 0.9)), "b": said(("car", CAR, 0.9))},
        {"a": said(), "b": said()},
        {"a": said(("traffic cone", CONE, 0.9), ("car", CAR, 0.4)), "b": said()},
    ]
    clusters, _ = conclude(rows, BOTH)
    found = voting.objects(clusters)
    assert [one.labels for one in found] == [["vehicle"], [], ["cone", "vehicle"]]
    assert found[0].scores[0] == pytest.approx(0.9)
    assert found[2].scores.tolist() == pytest.approx(clusters.p_fused[1:].tolist())
    assert all(one.classes == ROADWORK.names for one in found)


def test_an_ensemble_without_detectors_has_no_opinion():
    text = "{name: m, tier: embedding, adapter: mobilenet, licence: MIT}"
    ensemble = Ensemble.from_manifest(manifests.parse(f"name: test\nmembers: [{text}]"))
    clusters, decisions = conclude([{}, {}], ensemble)
    assert [len(one) for one in voting.objects(clusters)] == [0, 0]
    assert np.isnan(decisions.p).tolist() == [True, True]


def test_the_true_decision_is_that_of_the_deciding_classes():
    truths = [truth(("vehicle", CAR)), truth(), truth(("vehicle", CAR), ("cone", CONE))]
    assert voting.decisions_of(truths, ROADWORK).tolist() == [False, False, True]
    assert voting.decisions_of([], ROADWORK).tolist() == []


def test_recalibrating_changes_the_calibration_and_nothing_else():
    rows = [{"a": said(("traffic cone", CONE, 0.3)), "b": said()}] * 30 + [{"a": said()}] * 10
    truths = [truth(("cone", CONE))] * 30 + [truth()] * 10
    fitted = voting.recalibrated(rows, BOTH, truths, np.array([SIZE] * 40))
    assert fitted.manifest == BOTH.manifest
    assert fitted.calibration.calibrated_members == ("a",)  # of b there is nothing to learn from
    assert fitted.calibration.apply("a", ["cone"], np.array([0.3]))[0] > 0.5
    assert fitted.calibration.silence["b"] > 0.5  # it saw none of 30 cones
