"""Verdicts of the gate, and its error rates in simulation."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cascade.manifest import Budget
from curation.active_learning.gate import checks
from curation.active_learning.gate.judge import judge
from curation.active_learning.gate.paired_test import PairedComparison
from curation.active_learning.gate.verdict import Evidence, Verdict
from curation.errors import EvidenceError

N, DRIVES = 400, 80
TRUTH = np.arange(N) % 2 == 0
DRIVE_OF = [f"drive-{i // (N // DRIVES)}" for i in range(N)]
BUDGET = Budget(p99_latency_ms=100.0, cost_ratio=1.5, mcc_floor=0.5)


def evidence(wrong, truth=TRUTH, **changes):
    """Return an ensemble that is always certain, and wrong on some images."""
    right = np.ones(len(truth), bool)
    right[np.asarray(wrong, int)] = False
    p = np.where(truth == right, 0.99, 0.01)
    fixed = {"threshold": 0.5, "map50": 0.6, "p99_latency_ms": 80.0, "mean_latency_ms": 40.0}
    return Evidence(p=p, **{**fixed, **changes})


CHAMPION = evidence(range(0, N, 8))  # 50 images wrong: MCC .775
BETTER = evidence(range(0, N, 16))  # 25 of them right now: MCC .882


def verdict(challenger=BETTER, champion=CHAMPION, **changes):
    defaults = {
        "truth": TRUTH,
        "drives": DRIVE_OF,
        "slices": {},
        "champion": champion,
        "challenger": challenger,
        "budget": BUDGET,
    }
    return judge(**{**defaults, **changes})


def check(result, name):
    return next(check_ for check_ in result.checks if check_.name == name)


def test_better_challenger_is_promoted():
    result = verdict()
    assert result.outcome == "promote"
    assert all(check_.passed for check_ in result.checks)
    assert 0 < result.lower < result.delta_mcc < result.upper
    assert result.delta_mcc == pytest.approx(0.11, abs=0.01)
    assert (result.n_images, result.n_groups, result.needed) == (400, 80, None)
    assert result.reasons[0].startswith("MCC 0.775 → 0.882, Δ +0.107, lower 95 % bound +0.0")
    assert result.reasons[0].endswith("> 0: better.")


CHANGES = [
    pytest.param(
        {"map50": 0.589}, "map50", "0.600 → 0.589, Δ \N{MINUS SIGN}0.011: worse by more", id="boxes"
    ),
    pytest.param({"p99_latency_ms": 101.0}, "latency", "101.0 ms > 100 ms", id="latency"),
    pytest.param(
        {"mean_latency_ms": 61.0}, "cost", "1.52 times the champion's time > 1.5", id="cost"
    ),
]


@pytest.mark.parametrize(("change", "name", "sentence"), CHANGES)
def test_single_failed_check_keeps_champion(change, name, sentence):
    result = verdict(replace(BETTER, **change))
    assert result.outcome == "keep"
    assert [check_.name for check_ in result.checks if check_.passed is False] == [name]
    assert len(result.reasons) == 1
    assert sentence in result.reasons[0]


BOUNDARIES = [
    pytest.param({"map50": 0.59}, id="boxes worse by exactly the margin"),
    pytest.param({"p99_latency_ms": 100.0}, id="latency at the budget"),
    pytest.param({"mean_latency_ms": 60.0}, id="cost at the budget"),
    pytest.param({"map50": None}, id="no boxes to measure"),
    pytest.param({"map50": float("nan")}, id="no boxes to measure, as NaN"),
]


@pytest.mark.parametrize("change", BOUNDARIES)
def test_values_at_limits_are_promoted(change):
    assert verdict(replace(BETTER, **change)).outcome == "promote"


def test_worse_calibration_keeps_champion():
    sure = replace(BETTER, p=np.where(BETTER.says_yes, 0.6, 0.4))
    result = verdict(sure)
    assert result.outcome == "keep"
    assert check(result, "ece").passed is False
    assert "Calibration error" in result.reasons[0]
    assert "worse by more than 0.01" in result.reasons[0]


def test_floor_is_absolute():
    result = verdict(budget=Budget(mcc_floor=0.9985))
    assert result.outcome == "keep"
    assert result.reasons == ("MCC 0.8819 < 0.9985, the floor.",)


def test_equal_ensemble_is_not_promoted():
    result = verdict(CHAMPION)
    assert result.outcome == "keep"
    assert result.reasons == (
        "MCC 0.775 → 0.775, Δ +0.000, lower 95 % bound +0.000 ≤ 0: not shown to be better.",
    )
    assert result.needed == (
        "The two ensembles make the same decisions on all 400 images; more would not help."
    )


def test_gain_within_noise_is_not_promoted():
    wrong = sorted({*range(0, N, 8)} - {0, 8, 16, 24, 32, 40} | {1, 51, 101})
    result = verdict(evidence(wrong))
    assert result.outcome == "keep"
    assert result.delta_mcc > 0 >= result.lower
    assert "≤ 0: not shown to be better." in result.reasons[0]
    assert result.needed.startswith("This set shows a change of 0.0")
    assert "images of" in result.needed


def test_gain_on_four_drives_is_not_promoted():
    champion = evidence([0, 50, 100, 150])
    result = verdict(evidence([]), champion)
    assert result.lower > 0
    assert result.outcome == "keep"
    assert "they differ on 4 drives only" in result.reasons[0]
    five = verdict(evidence([]), evidence([0, 50, 100, 150, 200]))
    assert five.outcome == "promote"


def test_small_set_has_warning():
    result = verdict()
    (warning,) = result.warnings
    assert warning.startswith("The set has 400 images of 80 drives, fewer than 2,000: the change")
    assert f"a width of {result.upper - result.lower:.3f}." in warning
    truth = np.arange(2000) % 2 == 0
    large = verdict(
        evidence(range(0, 2000, 16), truth),
        evidence(range(0, 2000, 8), truth),
        truth=truth,
        drives=[f"{i // 5}" for i in range(2000)],
    )
    assert large.outcome == "promote"
    assert large.warnings == ()


def test_verdict_without_warnings_is_readable():
    old = verdict().to_dict()
    del old["warnings"]
    assert Verdict.from_dict(old).warnings == ()


def test_gain_likely_by_chance_is_not_better():
    """With few drives the bounds of the bootstrap are too narrow; the swap test decides."""
    comparison = PairedComparison(
        a=0.8, b=0.9, delta=0.1, lower=0.01, upper=0.2, p_worse=0.9, p_chance=0.08,
        deviation=0.05, n=400, groups=8, differing=6,
    )  # fmt: skip
    check_ = checks.better(comparison)
    assert check_.passed is False
    assert "but chance alone does as well with p = 0.080, above 0.05" in check_.sentence
    assert checks.better(replace(comparison, p_chance=0.04)).passed is True


def test_worse_challenger_is_not_promoted():
    result = verdict(CHAMPION, BETTER)
    assert result.outcome == "keep"
    assert result.upper < 0


def test_drives_count_instead_of_images():
    # The gain is confined to one drive of 40 images.
    drive_of = ["long"] * 40 + [f"drive-{i}" for i in range(N - 40)]
    result = verdict(evidence(range(40, N, 8)), evidence(range(0, N, 4)), drives=drive_of)
    assert result.outcome == "promote"
    wrong = sorted({*range(0, N, 8)} - set(range(40)))
    result = verdict(evidence(wrong), drives=drive_of)
    assert result.outcome == "keep"
    assert "they differ on 1 drives only" in result.reasons[0] or result.lower <= 0


SLICE = np.arange(N) < 120


def test_worse_slice_keeps_champion():
    champion = evidence(range(120, N, 4))
    challenger = evidence(range(0, 120, 8))
    result = verdict(challenger, champion, slices={"time_of_day=night": SLICE, "others": ~SLICE})
    assert result.outcome == "keep"
    assert check(result, "mcc").passed
    assert check(result, "slice others").passed
    assert len(result.reasons) == 1
    assert result.reasons[0].startswith("time_of_day=night (120 images): MCC 1.000 → 0.7")
    assert result.reasons[0].endswith("p = 0.0005 against 0.0250: significantly worse.")


REPORTED = [
    pytest.param(np.arange(N) < 99, "reported only: fewer than 100 images", id="99 images"),
    pytest.param(TRUTH, "(200 images): one class only, so MCC is not defined", id="one class"),
    pytest.param(np.zeros(N, bool), "(0 images): no images", id="empty"),
]


@pytest.mark.parametrize(("mask", "sentence"), REPORTED)
def test_untestable_slices_are_only_reported(mask, sentence):
    champion, challenger = evidence(range(120, N, 4)), evidence(range(0, 60, 6))
    result = verdict(challenger, champion, slices={"rain": mask})
    assert result.outcome == "promote"
    assert check(result, "slice rain").passed is None
    assert sentence in check(result, "slice rain").sentence


NO_VERDICT = [
    pytest.param(np.ones(400, bool), 80, "All 400 images of the set have the answer yes", id="yes"),
    pytest.param(np.zeros(400, bool), 80, "have the answer no: MCC is not defined", id="all no"),
    pytest.param(np.arange(400) < 4, 80, r"400 images \(4 yes, 396 no\)", id="four positives"),
    pytest.param(np.arange(28) < 14, 28, r"The set has 28 images", id="28 images"),
    pytest.param(TRUTH, 9, "of 9 drives; a verdict takes 30 images", id="nine drives"),
    pytest.param(np.empty(0, bool), 1, r"The set has 0 images", id="no images"),
]


@pytest.mark.parametrize(("truth", "drives", "reason"), NO_VERDICT)
def test_no_verdict(truth, drives, reason):
    result = verdict(
        evidence(range(0, len(truth), 30), truth),
        evidence(range(0, len(truth), 10), truth),
        truth=truth,
        drives=[f"drive-{i % drives}" for i in range(len(truth))],
    )
    assert result.outcome == "no_verdict"
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(result.reasons[0])
    assert result.delta_mcc is result.lower is result.upper is None
    assert "To show a gain in MCC of 0.05 about" in result.needed
    assert check(result, "map50").passed  # boxes are compared nevertheless


def test_needed_distinguishes_measured_and_assumed():
    yes = np.ones(400, bool)
    result = verdict(evidence([], yes), evidence(range(8), yes), truth=yes)
    assert "half of them yes, the ensembles differing on 2.0% of them (as here)" in result.needed
    small = np.arange(28) < 14
    result = verdict(evidence([], small), evidence([], small), truth=small, drives=["a"] * 28)
    assert "50% of them yes, as here, the ensembles differing on 3.0% of them (assumed)" in (
        result.needed
    )


def test_non_inferiority_promotes_faster_ensemble():
    faster = replace(CHAMPION, mean_latency_ms=20.0)
    assert verdict(faster).outcome == "keep"
    result = verdict(faster, non_inferiority=True)
    assert result.outcome == "promote"
    assert result.reasons[0].endswith("+0.000 > \N{MINUS SIGN}0.005: as good within the margin.")
    assert result.reasons[1] == "Mean latency 40.0 → 20.0 ms: faster."


def test_non_inferiority_needs_speed_and_quality():
    result = verdict(CHAMPION, non_inferiority=True)
    assert result.outcome == "keep"
    assert "not faster, so being as good is not enough" in result.reasons[0]
    result = verdict(replace(CHAMPION, mean_latency_ms=20.0), BETTER, non_inferiority=True)
    assert result.outcome == "keep"
    assert "≤ \N{MINUS SIGN}0.005: not shown to be as good." in result.reasons[0]


def test_images_without_votes_count_as_no_and_are_reported():
    p = BETTER.p.copy()
    p[[0, 1, 2]] = np.nan
    result = verdict(replace(BETTER, p=p))
    assert result.outcome == "promote"
    report = check(result, "challenger_voted")
    assert report.passed is None
    assert report.sentence == (
        "The challenger has no probability for 3 of 400 images; they count as a no."
    )


@pytest.mark.parametrize("result", [verdict(), verdict(truth=np.ones(N, bool))])
def test_verdict_round_trips_through_json(result):
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert Verdict.from_dict(json.loads(text)) == result


def test_verdict_is_deterministic():
    assert verdict(seed=3) == verdict(seed=3)
    assert verdict(seed=3).lower != verdict(seed=4).lower


REFUSED = [
    pytest.param({"drives": ["a"]}, "drives must have length 400 like truth, got 1", id="drives"),
    pytest.param({"slices": {"rain": SLICE[:9]}}, r"slices\['rain'\] .* got 9", id="slice"),
    pytest.param(
        {"challenger": evidence([], TRUTH[:7])}, "p of the challenger .* got 7", id="challenger"
    ),
    pytest.param(
        {"champion": replace(CHAMPION, mean_latency_ms=0.0)},
        "latency of the champion must be above 0 ms, got 0.0",
        id="no latency",
    ),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_mismatched_evidence_is_refused(change, message):
    with pytest.raises(EvidenceError, match=message):
        verdict(**change)


def _promoted(rng, *, n, drives, error_champion, error_challenger, shared):
    """Return whether a random pair is promoted; `shared` of the errors are common to both."""
    truth = rng.random(n) < 0.4
    drive_of = [f"{i % drives}" for i in range(n)]
    shared_wrong = rng.random(n) < shared * min(error_champion, error_challenger)
    wrong = [
        np.flatnonzero(shared_wrong | (rng.random(n) < error * (1 - shared)))
        for error in (error_champion, error_challenger)
    ]
    result = judge(
        truth=truth,
        drives=drive_of,
        slices={},
        champion=evidence(wrong[0], truth),
        challenger=evidence(wrong[1], truth),
        budget=Budget(),
        seed=int(rng.integers(1 << 30)),
        draws=400,
    )
    return result.outcome == "promote"


PAIRS = [
    pytest.param(300, 60, 0.10, 0.5, id="ten in a hundred wrong"),
    pytest.param(300, 60, 0.03, 0.5, id="few errors, few drives differ"),
    pytest.param(300, 300, 0.10, 0.9, id="mostly shared errors"),
]


@pytest.mark.parametrize(("n", "drives", "error", "shared"), PAIRS)
def test_equal_pairs_are_rarely_promoted(n, drives, error, shared):
    rng = np.random.default_rng(0)
    options = {"n": n, "drives": drives, "shared": shared}
    n_promoted = sum(
        _promoted(rng, error_champion=error, error_challenger=error, **options) for _ in range(300)
    )
    assert n_promoted <= 0.06 * 300  # one-sided 5 %, and the other checks refuse some


def test_clear_gain_is_usually_promoted():
    rng = np.random.default_rng(1)
    options = {"n": 400, "drives": 80, "shared": 0.5}
    n_promoted = sum(
        _promoted(rng, error_champion=0.2, error_challenger=0.08, **options) for _ in range(100)
    )
    assert n_promoted >= 90


@pytest.fixture(scope="module")
def simulation():
    """Return the tool that creates the tables of docs/gate.md."""
    path = Path(__file__).parents[4] / "tools" / "studies" / "gate_power.py"
    spec = importlib.util.spec_from_file_location("gate_power", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gate_power"] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_equal_pairs_with_similar_images_are_rarely_promoted(simulation):
    """Images of a drive are similar, and each ensemble has bad drives."""
    world = simulation.World(drives=20, images=15)
    hits = sum(simulation.is_promoted(world, seed) for seed in range(2000))
    assert simulation.upper_bound(hits, 2000) <= 0.065
    assert hits > 20, "the gate promotes at all"


def test_slices_rarely_refuse_uniform_gain(simulation):
    world = simulation.World(drives=60, images=10, gain=0.3)
    hits = sum(simulation.is_rejected_by_slice(world, seed) for seed in range(150))
    assert simulation.upper_bound(hits, 150) <= 0.10


def test_upper_bound_is_clopper_pearson(simulation):
    assert simulation.upper_bound(0, 20) == pytest.approx(1 - 0.05 ** (1 / 20))
    assert simulation.upper_bound(20, 20) == 1.0
