import numpy as np
import pytest

from cascade import taxonomy
from curation.demo import DEPLOYMENT, ROADWORK
from curation.demo.catalogue import KINDS
from curation.demo.domain import CLASSIC
from curation.demo.road import LANE_M, draw_road
from curation.demo.zone import draw_zone


@pytest.fixture(scope="module")
def zones():
    """A hundred roads and the things of a work zone on each."""
    out = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        road = draw_road(rng)
        out.append((road, draw_zone(rng, road, DEPLOYMENT, CLASSIC)))
    return out


def test_a_zone_shows_what_makes_it_one(zones):
    for _, things in zones:
        assert any(KINDS[thing.kind].label in ROADWORK for thing in things)
        assert not any(KINDS[thing.kind].label == "vehicle" for thing in things)


def test_all_classes_of_road_work_occur(zones):
    labels = {KINDS[thing.kind].label for _, things in zones for thing in things}
    assert labels - {None} == ROADWORK


def test_heights_are_plausible_to_the_taxonomy(zones):
    bounds = {one.name: one.height_m for one in taxonomy.load("roadwork").classes}
    for thing in (thing for _, things in zones for thing in things):
        label = KINDS[thing.kind].label
        if label:
            low, high = bounds[label]
            assert low <= thing.height <= high, thing.kind


def test_channelizers_leave_our_lane_free(zones):
    inside = [
        abs(thing.x) < 0.6
        for _, things in zones
        for thing in things
        if thing.kind in ("cone", "drum", "tube")
    ]
    assert np.mean(inside) < 0.02


def test_lanes_lie_between_the_edges(zones):
    for road, _ in zones:
        assert road.left <= -1.5 * LANE_M
        assert road.right >= 0.5 * LANE_M
        assert road.left < road.parting < -LANE_M / 2 + 1e-9
