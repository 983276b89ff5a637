from collections import Counter
from dataclasses import replace

import pytest

from curation.demo import DEPLOYMENT, PRETRAIN
from curation.demo.conditions import draw_conditions, has_roadwork


@pytest.mark.parametrize("domain", [PRETRAIN, DEPLOYMENT], ids=lambda domain: domain.name)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shares_hold_over_many_drives(domain, seed):
    drawn = [draw_conditions(seed, i, domain) for i in range(400)]
    weathers = Counter(one.weather for one in drawn)
    assert sum(one.night for one in drawn) / 400 == pytest.approx(domain.night, abs=0.01)
    for name, share in domain.weathers:
        assert weathers[name] / 400 == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("first", [0, 13, 40])
def test_a_short_run_of_drives_has_the_hard_ones_too(first):
    drawn = [draw_conditions(8, i, DEPLOYMENT) for i in range(first, first + 12)]
    assert 2 <= sum(one.night for one in drawn) <= 5
    assert len({one.weather for one in drawn}) == 4
    assert sum(has_roadwork(8, i, DEPLOYMENT) for i in range(first, first + 12)) in (6, 7)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        pytest.param(0.0, 0, id="none"),
        pytest.param(0.25, 25, id="a quarter"),
        pytest.param(1.0, 100, id="all"),
    ],
)
def test_road_work_comes_in_its_share(share, expected):
    domain = replace(DEPLOYMENT, roadwork=share)
    assert sum(has_roadwork(1, i, domain) for i in range(100)) == expected


def test_light_fades_with_distance():
    night = draw_conditions(0, 0, replace(DEPLOYMENT, night=1.0))
    day = draw_conditions(0, 0, replace(DEPLOYMENT, night=0.0))
    assert night.beam(10, 0) > night.beam(40, 0) > 0
    assert night.beam(10, 0) > night.beam(10, 0.5)
    assert day.beam(10, 0) == 0
    assert 1 == day.clearness(0) > day.clearness(10) > day.clearness(80)
