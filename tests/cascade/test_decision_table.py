"""From what voters say, failures included, to the tiers that are reached: every cell."""

import math
from itertools import product

import numpy as np
import pytest

from cascade.fusion import consensus
from cascade.fusion.routing import needs_adjudication, route
from cascade.manifest import Routing

ROUTING = Routing()
SAID = (0.02, 0.3, 0.6, 0.72, 0.8, 0.91, 0.98, None)  # None: failed, or abstains
FAST = {"detection", "language"}
EVERY = {"detection", "geometry", "segmentation", "language"}


def by_the_table(said):
    """Read the decision table of the design as a person would, for one image.

    Returns the tiers that are reached, and whether an adjudicator is asked if they change nothing.
    """
    heard = [min(max(one, 0.02), 0.98) for one in said if one is not None]
    if not heard:
        return EVERY, True
    odds = sum(math.log(one / (1 - one)) for one in heard) / len(heard)
    p = 1 / (1 + math.exp(-odds))
    agreement = sum((one >= 0.5) == (p >= 0.5) for one in heard) / len(heard)
    doubt = agreement < 0.65 or 0.25 < p < 0.75
    if agreement < 0.65 or 0.05 < p < 0.70:
        return EVERY, doubt
    return ({"detection"} if p <= 0.05 or p >= 0.95 else FAST), doubt


def reached(path):
    return {"stop": {"detection"}, "fast_a": FAST, "fast_b": FAST, "precision": EVERY}[path]


@pytest.mark.parametrize("voters", [1, 2, 3, 4])
def test_every_combination_of_voters_and_failures(voters):
    rows = list(product(SAID, repeat=voters))
    p_members = np.array([[np.nan if one is None else one for one in row] for row in rows])
    decided = consensus.opinion_pool(p_members, np.ones(voters), threshold=0.5, epsilon=0.02)
    paths = route(decided.p, decided.agreement, ROUTING)
    doubts = needs_adjudication(decided.p, decided.agreement, ROUTING)
    for row, path, doubt, n_voters in zip(rows, paths, doubts, decided.n_voters, strict=True):
        assert (reached(path), bool(doubt)) == by_the_table(row), row
        assert n_voters == sum(one is not None for one in row)
    assert len(set(paths)) == (4 if voters > 0 else 0), "every path is in the grid"
