"""Simulate the error rates and the power of the gate: the tables of docs/gate.md.

    python tools/studies/gate_power.py [--pairs 2000] [--power-pairs 300] > tables.md

Pairs of ensembles decide on the same images. Images of a drive are correlated: drives differ in
prevalence, in difficulty for both ensembles, and in difficulty for each of them. Equal ensembles
have the same error distribution; a better one has a lower error rate in every drive. Each pair is
passed to `curation.active_learning.gate.judge.judge`.

- [0] Clopper and Pearson, The use of confidence or fiducial limits, Biometrika 1934
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import beta

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cascade.arrays import BoolArray
from cascade.manifest import Budget
from curation.active_learning.gate.judge import judge
from curation.active_learning.gate.verdict import Evidence, Verdict

_SLICES = ("time_of_day=day", "time_of_day=night", "weather=clear", "weather=rain", "weather=glare")


@dataclass(frozen=True)
class World:
    """Distribution of pairs.

    Attributes:
        drives: Number of drives.
        images: Number of images per drive.
        error: Approximate error rate of the champion.
        gain: Reduction of the challenger's errors in log-odds; 0 for equal pairs.
        drive_deviation: Standard deviation of the common difficulty of drives, in log-odds.
        own_deviation: Standard deviation of the individual difficulty of drives, in log-odds.
    """

    drives: int
    images: int
    error: float = 0.05
    gain: float = 0.0
    drive_deviation: float = 1.0
    own_deviation: float = 0.5

    def pair(self, seed: int) -> tuple[BoolArray, list[str], dict[str, BoolArray], list[Evidence]]:
        """Return truth, drives, slices and the evidence of champion and challenger."""
        rng = np.random.default_rng(seed)
        drive = np.repeat(np.arange(self.drives), self.images)
        n = len(drive)
        truth = rng.random(n) < _share(-0.4 + rng.normal(0, 1, self.drives)[drive])
        hard = rng.normal(0, self.drive_deviation, self.drives)[drive] + rng.normal(0, 1, n)
        evidence = []
        for gain in (0.0, self.gain):
            own = rng.normal(0, self.own_deviation, self.drives)[drive]
            wrong = rng.random(n) < _share(
                np.log(self.error / (1 - self.error)) + hard + own - gain
            )
            accuracy = 1 - wrong.mean()  # perfectly calibrated, to exclude the calibration check
            evidence.append(_evidence(np.where(truth ^ wrong, accuracy, 1 - accuracy)))
        night, weather = rng.random(self.drives) < 0.3, rng.integers(0, 3, self.drives)
        masks = (~night, night, weather == 0, weather == 1, weather == 2)
        slices = {name: mask[drive] for name, mask in zip(_SLICES, masks, strict=True)}
        return truth, [str(index) for index in drive], slices, evidence

    def judged(self, seed: int, *, draws: int = 400) -> Verdict:
        """Return the gate's verdict on one pair."""
        truth, drives, slices, (champion, challenger) = self.pair(seed)
        return judge(
            truth=truth,
            drives=drives,
            slices=slices,
            champion=champion,
            challenger=challenger,
            budget=Budget(),
            seed=seed,
            draws=draws,
        )


def is_promoted(world: World, seed: int) -> bool:
    """Return whether a pair ends with a promotion."""
    return world.judged(seed).outcome == "promote"


def is_rejected_by_slice(world: World, seed: int) -> bool:
    """Return whether a slice check rejects the challenger."""
    checks = world.judged(seed).checks
    return any(check.passed is False for check in checks if check.name.startswith("slice "))


def delta(world: World, seed: int) -> float:
    """Return the change of MCC in one pair."""
    return world.judged(seed, draws=2).delta_mcc or 0.0


def upper_bound(hits: int, n: int) -> float:
    """Return the one-sided 95 % upper bound of a share [0]."""
    return 1.0 if hits == n else float(beta.ppf(0.95, hits + 1, n - hits))


def _evidence(p: np.ndarray) -> Evidence:
    return Evidence(p=p, threshold=0.5, map50=0.6, p99_latency_ms=20.0, mean_latency_ms=10.0)


def _share(log_odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-log_odds))


def _count(
    pool: ProcessPoolExecutor, event: Callable[[World, int], bool], world: World, n: int
) -> int:
    return sum(pool.map(partial(event, world), range(n), chunksize=25))


def _gain_of(pool: ProcessPoolExecutor, target: float, world: World) -> float:
    """Return the gain in log-odds that changes MCC by `target` on average, by bisection."""
    low, high = 0.0, 4.0
    large = replace(world, drives=400, images=10)
    for _ in range(9):
        middle = (low + high) / 2
        change = np.mean(list(pool.map(partial(delta, replace(large, gain=middle)), range(40))))
        low, high = (middle, high) if change < target else (low, middle)
    return (low + high) / 2


def _equal(pool: ProcessPoolExecutor, n: int) -> Iterator[Sequence[str]]:
    yield ["images", "drives", "errors", "pairs", "promoted", "95 % upper bound"]
    for drives, images, error in ((10, 40, 0.05), (20, 20, 0.05), (40, 10, 0.05), (40, 25, 0.05),
                                  (100, 10, 0.03), (200, 10, 0.05)):  # fmt: skip
        hits = _count(pool, is_promoted, World(drives, images, error), n)
        yield [f"{drives * images:,}", f"{drives}", f"{error:.0%}", f"{n:,}", f"{hits / n:.2%}",
               f"{upper_bound(hits, n):.2%}"]  # fmt: skip


def _slices(pool: ProcessPoolExecutor, n: int) -> Iterator[Sequence[str]]:
    yield ["images", "drives", "gain", "pairs", "rejected by a slice", "95 % upper bound"]
    for drives, gain in ((40, 0.2), (100, 0.2), (200, 0.2), (200, 0.6)):
        hits = _count(pool, is_rejected_by_slice, World(drives, 10, gain=gain), n)
        yield [f"{drives * 10:,}", f"{drives}", f"{1 - np.exp(-gain):.0%} fewer errors", f"{n:,}",
               f"{hits / n:.2%}", f"{upper_bound(hits, n):.2%}"]  # fmt: skip


def _power(pool: ProcessPoolExecutor, n: int) -> Iterator[Sequence[str]]:
    targets = (0.005, 0.01, 0.02, 0.05)
    gains = [_gain_of(pool, target, World(100, 10)) for target in targets]
    yield ["images", "drives", *(f"+{target:g} MCC" for target in targets)]
    for drives in (25, 50, 100, 200, 400):
        shares = [_count(pool, is_promoted, World(drives, 10, gain=g), n) / n for g in gains]
        yield [f"{drives * 10:,}", f"{drives}", *(f"{share:.0%}" for share in shares)]


def _print(title: str, rows: Iterator[Sequence[str]]) -> None:
    head = next(rows)
    sys.stdout.write(f"### {title}\n\n| {' | '.join(head)} |\n|{'---:|' * len(head)}\n")
    for row in rows:
        sys.stdout.write(f"| {' | '.join(row)} |\n")
        sys.stdout.flush()
    sys.stdout.write("\n")


def main() -> None:
    """Print the three tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--power-pairs", type=int, default=300)
    args = parser.parse_args()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        _print("Promoted equal pairs", _equal(pool, args.pairs))
        _print(
            "Pairs that are better in every slice, rejected by a slice check",
            _slices(pool, args.pairs // 2),
        )
        _print("Power: promoted real gains", _power(pool, args.power_pairs))


if __name__ == "__main__":
    main()
