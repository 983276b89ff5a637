import numpy as np
import pytest
from scipy.special import expit, logit

from cascade import manifest, taxonomy
from cascade.ensemble import Ensemble
from cascade.fusion.calibration import Calibration
from cascade.fusion.probe import Probe
from cascade.inference import decision
from cascade.predictions import Detections, Embedding, Failure

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
        f"  - {{name: {name}, tier: detection, adapter: center_point, license: MIT, "
        f"vocabulary: [{', '.join(words)}]}}"
        for name, words in vocabularies.items()
    )
    return Ensemble.from_manifest(manifest.parse(f"name: test\nmembers:\n{rows}\n"))


BOTH = ensemble_of(a=["cone", "vehicle"], b=["cone", "vehicle"])


def conclude(rows, ensemble):
    sizes = np.array([SIZE] * len(rows))
    return decision.fuse_and_decide(decision.collect_votes(rows, ensemble), ensemble, sizes)


def test_words_become_classes_and_unknown_ones_are_dropped():
    found = decision.to_canonical(
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
    empty = decision.to_canonical(found, ROADWORK)
    assert len(empty) == 0
    assert empty.classes == ROADWORK.names


def test_votes_are_gathered_by_image_and_member():
    rows = [{"a": said(("car", CAR, 0.6))}, {"a": said(), "b": said(("traffic cone", CONE, 0.9))}]
    votes = decision.collect_votes(rows, BOTH)
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
    found = decision.fused_detections(clusters)
    assert [one.labels for one in found] == [["vehicle"], [], ["cone", "vehicle"]]
    assert found[0].scores[0] == pytest.approx(0.9)
    assert found[2].scores.tolist() == pytest.approx(clusters.p_fused[1:].tolist())
    assert all(one.classes == ROADWORK.names for one in found)


def test_an_ensemble_without_detectors_has_no_opinion():
    text = "{name: m, tier: embedding, adapter: mobilenet, license: MIT}"
    ensemble = Ensemble.from_manifest(manifest.parse(f"name: test\nmembers: [{text}]"))
    clusters, decisions = conclude([{}, {}], ensemble)
    assert [len(one) for one in decision.fused_detections(clusters)] == [0, 0]
    assert np.isnan(decisions.p).tolist() == [True, True]


def test_the_true_decision_is_that_of_the_deciding_classes():
    truths = [truth(("vehicle", CAR)), truth(), truth(("vehicle", CAR), ("cone", CONE))]
    assert decision.true_decisions(truths, ROADWORK).tolist() == [False, False, True]
    assert decision.true_decisions([], ROADWORK).tolist() == []


def test_recalibrating_changes_the_calibration_and_nothing_else():
    rows = [{"a": said(("traffic cone", CONE, 0.3)), "b": said()}] * 30 + [{"a": said()}] * 10
    truths = [truth(("cone", CONE))] * 30 + [truth()] * 10
    fitted = decision.recalibrate(rows, BOTH, truths, np.array([SIZE] * 40))
    assert fitted.manifest == BOTH.manifest
    assert fitted.calibration.calibrated_members == ("a",)  # of b there is nothing to learn from
    assert fitted.calibration.calibrate_scores("a", ["cone"], np.array([0.3]))[0] > 0.5
    assert fitted.calibration.silence["b"] > 0.5  # it saw none of 30 cones


# --- the probe -----------------------------------------------------------------------------------

EMBEDDING = """
name: test
members:
  - {name: eye, tier: embedding, adapter: mobilenet, license: MIT, weight: 2}
  - {name: a, tier: detection, adapter: center_point, license: MIT, vocabulary: [cone]}
"""


def with_probe(bias=0.0):
    """Return an ensemble of one detector and a probe that reads the first of two numbers."""
    start = Ensemble.from_manifest(manifest.parse(EMBEDDING))
    line = Probe(np.array([1.0, 0.0]), bias, start.fingerprint("eye"), strength=1.0)
    return start.with_probe(line)


def test_the_probe_is_a_voter_with_its_own_weight():
    """By hand: the detector's 0.8 once and the probe's sigmoid(-0.6) twice, in log-odds."""
    ensemble = with_probe()
    rows = [
        {"a": said(("traffic cone", CONE, 0.8)), "eye": Embedding(np.float32([-0.6, 0.8]))},
        {"a": said(("traffic cone", CONE, 0.8)), "eye": Failure("ImageError", "torn")},
    ]
    _, alone = conclude(rows, ensemble)
    p_yes = decision.probe_votes(rows, ensemble)
    assert list(p_yes) == ["eye"]
    assert p_yes["eye"] == pytest.approx([expit(-0.6), np.nan], nan_ok=True)
    heard = decision.with_image_votes(alone, ensemble, p_yes)
    assert heard.p[0] == pytest.approx(expit((logit(0.8) + 2 * -0.6) / 3))
    assert heard.p[1] == pytest.approx(alone.p[1]), "it abstains where there is no embedding"
    assert heard.n_voters.tolist() == [2, 1]


def test_a_probe_of_another_embedder_has_no_say():
    ensemble = with_probe()
    strange = ensemble.with_probe(Probe(np.array([1.0, 0.0]), 0.0, "of another", strength=1.0))
    rows = [{"a": said(), "eye": Embedding(np.float32([1, 0]))}]
    assert (
        decision.probe_votes(rows, strange)
        == decision.probe_votes(rows, strange.with_probe(None))
        == {}
    )
    assert (ensemble.voters, strange.voters) == (("a", "eye"), ("a",))


def test_the_probe_is_calibrated_on_validation():
    """It says 0.73 for every yes and 0.65 for every no: a line puts them on their sides."""
    ensemble = with_probe()
    yes = np.arange(60) % 2 == 0
    seen = [Embedding(np.float32([1, 0] if one else [0.6, 0.8])) for one in yes]
    rows = [{"a": said(), "eye": one} for one in seen]
    _, decisions = conclude(rows, ensemble)
    p_yes = decision.probe_votes(rows, ensemble)
    fitted = decision.calibrate_image_votes(ensemble, decisions, p_yes, yes)
    heard = decision.with_image_votes(decisions, fitted, p_yes)
    assert (p_yes["eye"] > 0.5).all()
    assert (heard.p_members[yes, 1] > 0.5).all()
    assert (heard.p_members[~yes, 1] < 0.5).all()


def test_the_probe_is_part_of_the_ensemble_and_of_its_identity(tmp_path):
    ensemble = with_probe()
    loaded = Ensemble.load(ensemble.save(tmp_path / "whole"))
    assert loaded.identity == ensemble.identity
    assert loaded.probe_embedder == "eye"
    assert loaded.probe.weights.tolist() == [1.0, 0.0]
    others = [ensemble.with_probe(None), with_probe(bias=0.1)]
    assert len({one.identity for one in (ensemble, *others)}) == 3
    assert Ensemble.load(others[0].save(tmp_path / "without")).probe is None
