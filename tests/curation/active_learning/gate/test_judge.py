"""The gate's verdict by table, and how often chance alone is promoted."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cascade.manifest import Budget
from curation.active_learning.gate import checks
from curation.active_learning.gate.judge import Evidence, Verdict, judge
from curation.active_learning.gate.paired_test import Paired
from curation.errors import EvidenceError

N, DRIVES = 400, 80
TRUTH = np.arange(N) % 2 == 0
OF_DRIVE = [f"drive-{i // (N // DRIVES)}" for i in range(N)]
BUDGET = Budget(p99_latency_ms=100.0, cost_ratio=1.5, mcc_floor=0.5)


def evidence(wrong, truth=TRUTH, **changes):
    """An ensemble that is always sure, and errs on the given images."""
    right = np.ones(len(truth), bool)
    right[np.asarray(wrong, int)] = False
    p = np.where(truth == right, 0.99, 0.01)
    fixed = {"threshold": 0.5, "map50": 0.6, "p99_latency_ms": 80.0, "mean_latency_ms": 40.0}
    return Evidence(p=p, **{**fixed, **changes})


CHAMPION = evidence(range(0, N, 8))  # 50 images wrong: MCC .775
BETTER = evidence(range(0, N, 16))  # 25 of them right now: MCC .882


def verdict(challenger=BETTER, champion=CHAMPION, **changes):
    given = {
        "truth": TRUTH,
        "drives": OF_DRIVE,
        "slices": {},
        "champion": champion,
        "challenger": challenger,
        "budget": BUDGET,
    }
    return judge(**{**given, **changes})


def check(found, name):
    return next(one for one in found.checks if one.name == name)


def test_a_better_challenger_is_promoted():
    found = verdict()
    assert found.outcome == "promote"
    assert all(one.passed for one in found.checks)
    assert 0 < found.lower < found.delta_mcc < found.upper
    assert found.delta_mcc == pytest.approx(0.11, abs=0.01)
    assert (found.n_images, found.n_groups, found.needed) == (400, 80, None)
    assert found.reasons[0].startswith("MCC 0.775 → 0.882, Δ +0.107, lower 95 % bound +0.0")
    assert found.reasons[0].endswith("> 0: better.")


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
def test_one_failing_check_keeps_the_champion(change, name, sentence):
    found = verdict(replace(BETTER, **change))
    assert found.outcome == "keep"
    assert [one.name for one in found.checks if one.passed is False] == [name]
    assert len(found.reasons) == 1
    assert sentence in found.reasons[0]


BOUNDARIES = [
    pytest.param({"map50": 0.59}, id="boxes worse by exactly the margin"),
    pytest.param({"p99_latency_ms": 100.0}, id="latency at the budget"),
    pytest.param({"mean_latency_ms": 60.0}, id="cost at the budget"),
    pytest.param({"map50": None}, id="no boxes to measure"),
    pytest.param({"map50": float("nan")}, id="no boxes to measure, as NaN"),
]


@pytest.mark.parametrize("change", BOUNDARIES)
def test_what_is_just_allowed_is_promoted(change):
    assert verdict(replace(BETTER, **change)).outcome == "promote"


def test_worse_calibration_keeps_the_champion():
    sure = replace(BETTER, p=np.where(BETTER.says_yes, 0.6, 0.4))
    found = verdict(sure)
    assert found.outcome == "keep"
    assert check(found, "ece").passed is False
    assert "Calibration error" in found.reasons[0]
    assert "worse by more than 0.01" in found.reasons[0]


def test_the_floor_is_absolute():
    found = verdict(budget=Budget(mcc_floor=0.9985))
    assert found.outcome == "keep"
    assert found.reasons == ("MCC 0.8819 < 0.9985, the floor.",)


def test_the_same_ensemble_is_not_promoted():
    found = verdict(CHAMPION)
    assert found.outcome == "keep"
    assert found.reasons == (
        "MCC 0.775 → 0.775, Δ +0.000, lower 95 % bound +0.000 ≤ 0: not shown to be better.",
    )
    assert found.needed == "The two ensembles decide alike on all 400 images; no number would do."


def test_a_gain_inside_the_noise_is_not_promoted_and_says_what_would_show_it():
    wrong = sorted({*range(0, N, 8)} - {0, 8, 16, 24, 32, 40} | {1, 51, 101})
    found = verdict(evidence(wrong))
    assert found.outcome == "keep"
    assert found.delta_mcc > 0 >= found.lower
    assert "≤ 0: not shown to be better." in found.reasons[0]
    assert found.needed.startswith("This set shows a change of 0.0")
    assert "images of" in found.needed


def test_a_clean_sweep_of_four_drives_may_be_chance():
    champion = evidence([0, 50, 100, 150])
    found = verdict(evidence([]), champion)
    assert found.lower > 0
    assert found.outcome == "keep"
    assert "they differ on 4 drives only" in found.reasons[0]
    five = verdict(evidence([]), evidence([0, 50, 100, 150, 200]))
    assert five.outcome == "promote"


def test_a_small_set_says_how_little_it_knows():
    found = verdict()
    (warning,) = found.warnings
    assert warning.startswith("The set has 400 images of 80 drives, fewer than 2,000: the change")
    assert f"a width of {found.upper - found.lower:.3f}." in warning
    truth = np.arange(2000) % 2 == 0
    large = verdict(
        evidence(range(0, 2000, 16), truth),
        evidence(range(0, 2000, 8), truth),
        truth=truth,
        drives=[f"{i // 5}" for i in range(2000)],
    )
    assert large.outcome == "promote"
    assert large.warnings == ()


def test_a_verdict_from_before_there_were_warnings_can_be_read():
    old = verdict().to_dict()
    del old["warnings"]
    assert Verdict.from_dict(old).warnings == ()


def test_what_chance_does_as_well_is_not_better():
    """On few drives the bootstrap's bounds are too narrow; the swap test has the last word."""
    found = Paired(
        a=0.8, b=0.9, delta=0.1, lower=0.01, upper=0.2, p_worse=0.9, p_chance=0.08,
        deviation=0.05, n=400, groups=8, differing=6,
    )  # fmt: skip
    kept = checks.better(found)
    assert kept.passed is False
    assert "but chance alone does as well with p = 0.080, above 0.05" in kept.sentence
    assert checks.better(replace(found, p_chance=0.04)).passed is True


def test_worse_is_not_promoted():
    found = verdict(CHAMPION, BETTER)
    assert found.outcome == "keep"
    assert found.upper < 0


def test_drives_count_and_not_their_images():
    # All of the gain lies in one drive of 40 images.
    of_drive = ["long"] * 40 + [f"drive-{i}" for i in range(N - 40)]
    found = verdict(evidence(range(40, N, 8)), evidence(range(0, N, 4)), drives=of_drive)
    assert found.outcome == "promote"
    rest = sorted({*range(0, N, 8)} - set(range(40)))
    found = verdict(evidence(rest), drives=of_drive)
    assert found.outcome == "keep"
    assert "they differ on 1 drives only" in found.reasons[0] or found.lower <= 0


SLICE = np.arange(N) < 120


def test_a_slice_that_gets_worse_keeps_the_champion():
    champion = evidence(range(120, N, 4))
    challenger = evidence(range(0, 120, 8))
    found = verdict(challenger, champion, slices={"time_of_day=night": SLICE, "rest": ~SLICE})
    assert found.outcome == "keep"
    assert check(found, "mcc").passed
    assert check(found, "slice rest").passed
    assert len(found.reasons) == 1
    assert found.reasons[0].startswith("time_of_day=night (120 images): MCC 1.000 → 0.7")
    assert found.reasons[0].endswith("p = 0.0005 against 0.0250: significantly worse.")


REPORTED = [
    pytest.param(np.arange(N) < 99, "reported only: fewer than 100 images", id="99 images"),
    pytest.param(TRUTH, "(200 images): one class only, so MCC is not defined", id="one class"),
    pytest.param(np.zeros(N, bool), "(0 images): no images", id="empty"),
]


@pytest.mark.parametrize(("mask", "sentence"), REPORTED)
def test_slices_that_are_reported_only(mask, sentence):
    champion, challenger = evidence(range(120, N, 4)), evidence(range(0, 60, 6))
    found = verdict(challenger, champion, slices={"rain": mask})
    assert found.outcome == "promote"
    assert check(found, "slice rain").passed is None
    assert sentence in check(found, "slice rain").sentence


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
    found = verdict(
        evidence(range(0, len(truth), 30), truth),
        evidence(range(0, len(truth), 10), truth),
        truth=truth,
        drives=[f"drive-{i % drives}" for i in range(len(truth))],
    )
    assert found.outcome == "no_verdict"
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.reasons[0])
    assert found.delta_mcc is found.lower is found.upper is None
    assert "To show a gain in MCC of 0.05 about" in found.needed
    assert check(found, "map50").passed  # boxes are compared all the same


def test_needed_says_what_was_measured_and_what_assumed():
    yes = np.ones(400, bool)
    found = verdict(evidence([], yes), evidence(range(8), yes), truth=yes)
    assert "half of them yes, the ensembles differing on 2.0% of them (as here)" in found.needed
    small = np.arange(28) < 14
    found = verdict(evidence([], small), evidence([], small), truth=small, drives=["a"] * 28)
    assert "50% of them yes, as here, the ensembles differing on 3.0% of them (assumed)" in (
        found.needed
    )


def test_a_faster_ensemble_is_promoted_on_non_inferiority_only_when_asked():
    faster = replace(CHAMPION, mean_latency_ms=20.0)
    assert verdict(faster).outcome == "keep"
    found = verdict(faster, non_inferiority=True)
    assert found.outcome == "promote"
    assert found.reasons[0].endswith("+0.000 > \N{MINUS SIGN}0.005: as good within the margin.")
    assert found.reasons[1] == "Mean latency 40.0 → 20.0 ms: faster."


def test_non_inferiority_still_asks_for_speed_and_quality():
    found = verdict(CHAMPION, non_inferiority=True)
    assert found.outcome == "keep"
    assert "not faster, so being as good is not enough" in found.reasons[0]
    found = verdict(replace(CHAMPION, mean_latency_ms=20.0), BETTER, non_inferiority=True)
    assert found.outcome == "keep"
    assert "≤ \N{MINUS SIGN}0.005: not shown to be as good." in found.reasons[0]


def test_images_without_a_vote_count_as_no_and_are_told():
    p = BETTER.p.copy()
    p[[0, 1, 2]] = np.nan
    found = verdict(replace(BETTER, p=p))
    assert found.outcome == "promote"
    told = check(found, "challenger_voted")
    assert told.passed is None
    assert told.sentence == (
        "The challenger has no probability for 3 of 400 images; they count as a no."
    )


@pytest.mark.parametrize("found", [verdict(), verdict(truth=np.ones(N, bool))])
def test_json_there_and_back(found):
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert Verdict.from_dict(json.loads(text)) == found


def test_the_same_seed_gives_the_same_verdict():
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
def test_evidence_that_does_not_fit_is_refused(change, message):
    with pytest.raises(EvidenceError, match=message):
        verdict(**change)


def _promoted(rng, *, n, drives, error_champion, error_challenger, shared):
    """Return whether a random pair is promoted; `shared` of the errors are common to both."""
    truth = rng.random(n) < 0.4
    of_drive = [f"{i % drives}" for i in range(n)]
    common = rng.random(n) < shared * min(error_champion, error_challenger)
    wrong = [
        np.flatnonzero(common | (rng.random(n) < error * (1 - shared)))
        for error in (error_champion, error_challenger)
    ]
    found = judge(
        truth=truth,
        drives=of_drive,
        slices={},
        champion=evidence(wrong[0], truth),
        challenger=evidence(wrong[1], truth),
        budget=Budget(),
        seed=int(rng.integers(1 << 30)),
        draws=400,
    )
    return found.outcome == "promote"


PAIRS = [
    pytest.param(300, 60, 0.10, 0.5, id="ten in a hundred wrong"),
    pytest.param(300, 60, 0.03, 0.5, id="few errors, few drives differ"),
    pytest.param(300, 300, 0.10, 0.9, id="errors nearly alike"),
]


@pytest.mark.parametrize(("n", "drives", "error", "shared"), PAIRS)
def test_chance_alone_is_seldom_promoted(n, drives, error, shared):
    rng = np.random.default_rng(0)
    how = {"n": n, "drives": drives, "shared": shared}
    times = sum(
        _promoted(rng, error_champion=error, error_challenger=error, **how) for _ in range(300)
    )
    assert times <= 0.06 * 300  # one-sided 5 %, and the other checks refuse some


def test_a_clear_gain_is_nearly_always_promoted():
    rng = np.random.default_rng(1)
    how = {"n": 400, "drives": 80, "shared": 0.5}
    times = sum(
        _promoted(rng, error_champion=0.2, error_challenger=0.08, **how) for _ in range(100)
    )
    assert times >= 90


@pytest.fixture(scope="module")
def simulation():
    """Return the tool that makes the tables of docs/gate.md."""
    path = Path(__file__).parents[4] / "tools" / "gate_power.py"
    spec = importlib.util.spec_from_file_location("gate_power", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gate_power"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_of_two_thousand_equal_pairs_few_are_promoted(simulation):
    """Grouped by drive: images of a drive are alike, and each ensemble has its own bad drives."""
    world = simulation.World(drives=20, images=15)
    hits = sum(simulation.is_promoted(world, seed) for seed in range(2000))
    assert simulation.upper_bound(hits, 2000) <= 0.065
    assert hits > 20, "the gate is not merely shut"


def test_slices_seldom_refuse_what_is_better_everywhere(simulation):
    world = simulation.World(drives=60, images=10, gain=0.3)
    hits = sum(simulation.is_refused_by_a_slice(world, seed) for seed in range(150))
    assert simulation.upper_bound(hits, 150) <= 0.10


def test_the_upper_bound_is_that_of_clopper_and_pearson(simulation):
    assert simulation.upper_bound(0, 20) == pytest.approx(1 - 0.05 ** (1 / 20))
    assert simulation.upper_bound(20, 20) == 1.0
