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


def boxes(*rows, classes=("traffic cone", "car", "giraffe")):
    """Return detections from rows of (class, box, score), with native class names."""
    return Detections(
        boxes_xyxy=np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
        scores=np.array([row[2] for row in rows], np.float32),
        class_ids=np.array([classes.index(row[0]) for row in rows], np.int64),
        classes=classes,
    )


def truth(*rows):
    return boxes(*((*row, 1.0) for row in rows), classes=ROADWORK.names)


def ensemble_of(**vocabularies):
    """Return an ensemble of members with these vocabularies and equal weights."""
    rows = "\n".join(
        f"  - {{name: {name}, tier: detection, adapter: center_point, license: MIT, "
        f"vocabulary: [{', '.join(classes)}]}}"
        for name, classes in vocabularies.items()
    )
    return Ensemble.from_manifest(manifest.parse(f"name: test\nmembers:\n{rows}\n"))


BOTH = ensemble_of(a=["cone", "vehicle"], b=["cone", "vehicle"])


def decide(rows, ensemble):
    sizes = np.array([SIZE] * len(rows))
    return decision.fuse_and_decide(decision.collect_votes(rows, ensemble), ensemble, sizes)


def test_to_canonical_drops_unknown_labels():
    objects = decision.to_canonical(
        boxes(("giraffe", CAR, 0.9), ("traffic cone", CONE, 0.8), ("car", CAR, 0.7)), ROADWORK
    )
    assert objects.labels == ["cone", "vehicle"]
    assert objects.scores.tolist() == pytest.approx([0.8, 0.7])
    assert objects.boxes_xyxy.tolist() == [pytest.approx(CONE), pytest.approx(CAR)]


@pytest.mark.parametrize(
    "detections",
    [
        pytest.param(boxes(), id="no boxes"),
        pytest.param(Detections.empty(), id="no boxes and no classes"),
        pytest.param(boxes(("giraffe", CAR, 0.9)), id="unknown labels"),
    ],
)
def test_to_canonical_without_known_labels_is_empty(detections):
    empty = decision.to_canonical(detections, ROADWORK)
    assert len(empty) == 0
    assert empty.classes == ROADWORK.names


def test_collect_votes():
    rows = [
        {"a": boxes(("car", CAR, 0.6))},
        {"a": boxes(), "b": boxes(("traffic cone", CONE, 0.9))},
    ]
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
        pytest.param({"b": None}, id="no result"),
    ],
)
def test_member_without_result_does_not_vote(absent):
    _, decisions = decide([{"a": boxes(("traffic cone", CONE, 0.8)), **absent}], BOTH)
    assert decisions.n_voters.tolist() == [1]
    assert decisions.p[0] == pytest.approx(0.8)  # the silence of the other is not a "no"
    assert np.isnan(decisions.p_members[0, 1])


def test_member_without_boxes_votes_no():
    row = {"a": boxes(("traffic cone", CONE, 0.8)), "b": boxes()}
    clusters, decisions = decide([row], BOTH)
    assert decisions.n_voters.tolist() == [2]
    assert clusters.p_fused[0] == pytest.approx(expit((logit(0.8) + logit(0.02)) / 2))
    assert decisions.p[0] == pytest.approx(expit((logit(0.8) + logit(0.02)) / 2))


def test_incompetent_member_abstains():
    ensemble = ensemble_of(a=["cone", "vehicle"], cars_only=["vehicle"])
    row = {"a": boxes(("traffic cone", CONE, 0.8), ("car", CAR, 0.9)), "cars_only": boxes()}
    clusters, decisions = decide([row], ensemble)
    cone, car = (
        list(clusters.class_id).index(ROADWORK.names.index(n)) for n in ("cone", "vehicle")
    )
    assert np.isnan(clusters.p_members[cone, 1])
    assert clusters.p_members[car, 1] == pytest.approx(0.02)
    assert decisions.n_voters.tolist() == [1]
    assert decisions.p[0] == pytest.approx(0.8)


def test_class_that_does_not_decide():
    _, decisions = decide([{"a": boxes(("car", CAR, 0.9)), "b": boxes(("car", CAR, 0.9))}], BOTH)
    assert decisions.p[0] == pytest.approx(0.02)


def test_image_without_results_has_no_probability():
    clusters, decisions = decide([{}, {"a": boxes()}], BOTH)
    assert len(clusters) == 0
    assert np.isnan(decisions.p[0])
    assert decisions.n_voters.tolist() == [0, 1]


def test_calibration_applies_to_votes_and_silence():
    fitted = Calibration(
        scaling={"a": {"*": (2.0, 1.0)}},
        silence={"b": 0.3},
        relevance={"cone": 0.5},
        quality={},
        threshold=0.4,
    )
    row = {"a": boxes(("traffic cone", CONE, 0.6)), "b": boxes()}
    clusters, decisions = decide([row], BOTH.with_calibration(fitted))
    p_a = expit(2 * logit(0.6) + 1)
    assert clusters.p_members[0].tolist() == pytest.approx([p_a, 0.3])
    assert decisions.p_members[0].tolist() == pytest.approx([0.5 * p_a, 0.5 * 0.3])


def test_fused_detections_by_image():
    rows = [
        {"a": boxes(("car", CAR, 0.9)), "b": boxes(("car", CAR, 0.9))},
        {"a": boxes(), "b": boxes()},
        {"a": boxes(("traffic cone", CONE, 0.9), ("car", CAR, 0.4)), "b": boxes()},
    ]
    clusters, _ = decide(rows, BOTH)
    objects = decision.fused_detections(clusters)
    assert [detections.labels for detections in objects] == [["vehicle"], [], ["cone", "vehicle"]]
    assert objects[0].scores[0] == pytest.approx(0.9)
    assert objects[2].scores.tolist() == pytest.approx(clusters.p_fused[1:].tolist())
    assert all(detections.classes == ROADWORK.names for detections in objects)


def test_ensemble_without_detectors():
    text = "{name: m, tier: embedding, adapter: mobilenet, license: MIT}"
    ensemble = Ensemble.from_manifest(manifest.parse(f"name: test\nmembers: [{text}]"))
    clusters, decisions = decide([{}, {}], ensemble)
    assert [len(detections) for detections in decision.fused_detections(clusters)] == [0, 0]
    assert np.isnan(decisions.p).tolist() == [True, True]


def test_true_decisions():
    truths = [truth(("vehicle", CAR)), truth(), truth(("vehicle", CAR), ("cone", CONE))]
    assert decision.true_decisions(truths, ROADWORK).tolist() == [False, False, True]
    assert decision.true_decisions([], ROADWORK).tolist() == []


def test_recalibrate_changes_the_calibration_only():
    rows = [{"a": boxes(("traffic cone", CONE, 0.3)), "b": boxes()}] * 30 + [{"a": boxes()}] * 10
    truths = [truth(("cone", CONE))] * 30 + [truth()] * 10
    fitted = decision.recalibrate(rows, BOTH, truths, np.array([SIZE] * 40))
    assert fitted.manifest == BOTH.manifest
    assert fitted.calibration.calibrated_members == ("a",)  # b has no boxes
    assert fitted.calibration.calibrate_scores("a", ["cone"], np.array([0.3]))[0] > 0.5
    assert fitted.calibration.silence["b"] > 0.5  # it missed 30 cones


# --- the probe -----------------------------------------------------------------------------------

EMBEDDING = """
name: test
members:
  - {name: eye, tier: embedding, adapter: mobilenet, license: MIT, weight: 2}
  - {name: a, tier: detection, adapter: center_point, license: MIT, vocabulary: [cone]}
"""


def with_probe(bias=0.0):
    """Return an ensemble of one detector and a probe of the first of two features."""
    start = Ensemble.from_manifest(manifest.parse(EMBEDDING))
    line = Probe(np.array([1.0, 0.0]), bias, start.fingerprint("eye"), strength=1.0)
    return start.with_probe(line)


def test_probe_votes_with_the_weight_of_its_embedder():
    """By hand: the detector's 0.8 once and the probe's sigmoid(-0.6) twice, in log-odds."""
    ensemble = with_probe()
    rows = [
        {"a": boxes(("traffic cone", CONE, 0.8)), "eye": Embedding(np.float32([-0.6, 0.8]))},
        {"a": boxes(("traffic cone", CONE, 0.8)), "eye": Failure("ImageError", "torn")},
    ]
    _, alone = decide(rows, ensemble)
    p_yes = decision.probe_votes(rows, ensemble)
    assert list(p_yes) == ["eye"]
    assert p_yes["eye"] == pytest.approx([expit(-0.6), np.nan], nan_ok=True)
    voted = decision.with_image_votes(alone, ensemble, p_yes)
    assert voted.p[0] == pytest.approx(expit((logit(0.8) + 2 * -0.6) / 3))
    assert voted.p[1] == pytest.approx(alone.p[1]), "the probe abstains without an embedding"
    assert voted.n_voters.tolist() == [2, 1]


def test_probe_of_another_embedder_does_not_vote():
    ensemble = with_probe()
    foreign = ensemble.with_probe(Probe(np.array([1.0, 0.0]), 0.0, "of another", strength=1.0))
    rows = [{"a": boxes(), "eye": Embedding(np.float32([1, 0]))}]
    assert (
        decision.probe_votes(rows, foreign)
        == decision.probe_votes(rows, foreign.with_probe(None))
        == {}
    )
    assert (ensemble.voters, foreign.voters) == (("a", "eye"), ("a",))


def test_calibrate_image_votes():
    """The probe returns 0.73 for yes and 0.65 for no; calibration separates them at 0.5."""
    ensemble = with_probe()
    yes = np.arange(60) % 2 == 0
    embeddings = [Embedding(np.float32([1, 0] if is_yes else [0.6, 0.8])) for is_yes in yes]
    rows = [{"a": boxes(), "eye": embedding} for embedding in embeddings]
    _, decisions = decide(rows, ensemble)
    p_yes = decision.probe_votes(rows, ensemble)
    fitted = decision.calibrate_image_votes(ensemble, decisions, p_yes, yes)
    voted = decision.with_image_votes(decisions, fitted, p_yes)
    assert (p_yes["eye"] > 0.5).all()
    assert (voted.p_members[yes, 1] > 0.5).all()
    assert (voted.p_members[~yes, 1] < 0.5).all()


def test_probe_is_saved_and_part_of_the_identity(tmp_path):
    ensemble = with_probe()
    loaded = Ensemble.load(ensemble.save(tmp_path / "with"))
    assert loaded.identity == ensemble.identity
    assert loaded.probe_embedder == "eye"
    assert loaded.probe.weights.tolist() == [1.0, 0.0]
    others = [ensemble.with_probe(None), with_probe(bias=0.1)]
    assert len({other.identity for other in (ensemble, *others)}) == 3
    assert Ensemble.load(others[0].save(tmp_path / "without")).probe is None
