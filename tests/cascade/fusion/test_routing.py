"""The decision table: every cell and every border."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.fusion.routing import Path, needs_adjudication, route
from cascade.manifest import Routing

ROUTING = Routing()
NAN = float("nan")

TABLE = [  # p, agreement, path, in doubt after the precision path
    (0.00, 1.00, "stop", False),
    (0.05, 0.65, "stop", False),
    (0.0501, 0.65, "precision", False),
    (0.25, 0.65, "precision", False),
    (0.2501, 0.65, "precision", True),
    (0.50, 1.00, "precision", True),
    (0.6999, 1.00, "precision", True),
    (0.70, 0.65, "fast_b", True),
    (0.7499, 0.80, "fast_b", True),
    (0.75, 0.80, "fast_b", False),
    (0.8499, 1.00, "fast_b", False),
    (0.85, 0.65, "fast_a", False),
    (0.9499, 1.00, "fast_a", False),
    (0.95, 0.65, "stop", False),
    (1.00, 1.00, "stop", False),
    (0.00, 0.6499, "precision", True),
    (0.05, 0.00, "precision", True),
    (0.30, 0.64, "precision", True),
    (0.70, 0.64, "precision", True),
    (0.85, 0.64, "precision", True),
    (0.95, 0.64, "precision", True),
    (1.00, 0.00, "precision", True),
    (NAN, NAN, "precision", True),
    (NAN, 1.00, "precision", True),
]


@pytest.mark.parametrize(("p", "agreement", "path", "doubt"), TABLE)
def test_table(p, agreement, path, doubt):
    assert route(np.array([p]), np.array([agreement]), ROUTING).tolist() == [path]
    assert needs_adjudication(np.array([p]), np.array([agreement]), ROUTING).tolist() == [doubt]


def test_table_as_arrays():
    p, agreement, path, doubt = (np.array(column) for column in zip(*TABLE, strict=True))
    assert (route(p, agreement, ROUTING) == path).all()
    assert (needs_adjudication(p, agreement, ROUTING) == doubt).all()


unit = st.floats(0, 1)


@settings(deadline=None)
@given(unit, unit)
def test_every_sample_gets_one_path(p, agreement):
    agreed = agreement >= 0.65
    cells = {
        Path.STOP: agreed and (p <= 0.05 or p >= 0.95),
        Path.FAST_A: agreed and 0.85 <= p < 0.95,
        Path.FAST_B: agreed and 0.70 <= p < 0.85,
        Path.PRECISION: not agreed or 0.05 < p < 0.70,
    }
    (expected,) = [path for path, holds in cells.items() if holds]
    assert route(np.array([p]), np.array([agreement]), ROUTING)[0] == expected


@settings(deadline=None)
@given(unit, unit, st.lists(unit, min_size=4, max_size=4), unit)
def test_table_is_total_for_any_thresholds(p, agreement, steps, min_agreement):
    low, b, a, high = sorted(steps)
    routing = Routing(
        agreement=min_agreement, stop_below=low, fast_b_from=b, fast_a_from=a, stop_above=high
    )
    assert route(np.array([p]), np.array([agreement]), routing)[0] in set(Path)


def test_route_without_samples():
    assert route(np.zeros(0), np.zeros(0), ROUTING).shape == (0,)
    assert needs_adjudication(np.zeros(0), np.zeros(0), ROUTING).shape == (0,)
