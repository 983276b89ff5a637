"""The decision table: from votes, failures included, to the tiers that process an image."""

import math
from itertools import product

import numpy as np
import pytest

from cascade.fusion import consensus
from cascade.fusion.routing import needs_adjudication, route
from cascade.manifest import Routing

ROUTING = Routing()
VOTES = (0.02, 0.3, 0.6, 0.72, 0.8, 0.91, 0.98, None)  # None: failed or abstained
FAST = {"detection", "language"}
EVERY = {"detection", "geometry", "segmentation", "language"}


def expected_tiers(votes):
    """Apply the decision table to one image.

    Returns the tiers that process it, and whether it needs the adjudicator if they change nothing.
    """
    cast = [min(max(vote, 0.02), 0.98) for vote in votes if vote is not None]
    if not cast:
        return EVERY, True
    odds = sum(math.log(vote / (1 - vote)) for vote in cast) / len(cast)
    p = 1 / (1 + math.exp(-odds))
    agreement = sum((vote >= 0.5) == (p >= 0.5) for vote in cast) / len(cast)
    doubt = agreement < 0.65 or 0.25 < p < 0.75
    if agreement < 0.65 or 0.05 < p < 0.70:
        return EVERY, doubt
    return ({"detection"} if p <= 0.05 or p >= 0.95 else FAST), doubt


def tiers_of(path):
    return {"stop": {"detection"}, "fast_a": FAST, "fast_b": FAST, "precision": EVERY}[path]


@pytest.mark.parametrize("voters", [1, 2, 3, 4])
def test_every_combination_of_voters_and_failures(voters):
    rows = list(product(VOTES, repeat=voters))
    p_members = np.array([[np.nan if vote is None else vote for vote in row] for row in rows])
    decisions = consensus.opinion_pool(p_members, np.ones(voters), threshold=0.5, epsilon=0.02)
    paths = route(decisions.p, decisions.agreement, ROUTING)
    doubts = needs_adjudication(decisions.p, decisions.agreement, ROUTING)
    for row, path, doubt, n_voters in zip(rows, paths, doubts, decisions.n_voters, strict=True):
        assert (tiers_of(path), bool(doubt)) == expected_tiers(row), row
        assert n_voters == sum(vote is not None for vote in row)
    assert len(set(paths)) == (4 if voters > 0 else 0), "every path is in the grid"
