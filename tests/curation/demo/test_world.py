from itertools import product

import numpy as np
import pytest

from curation.demo import DEPLOYMENT, PRETRAIN, ROADWORK
from curation.demo.catalogue import KINDS
from curation.demo.world import draw_world

ALIKE = {"bag", "bollard", "postbox", "hydrant", "bin"}
SPEED = 4.0


def worlds(domain, *, roadwork, count=60):
    return [
        draw_world(np.random.default_rng(seed), domain, roadwork=roadwork, speed=SPEED)
        for seed in range(count)
    ]


@pytest.mark.parametrize("roadwork", [True, False])
def test_only_drives_past_road_work_have_some(roadwork):
    for world in worlds(DEPLOYMENT, roadwork=roadwork):
        assert any(KINDS[thing.kind].label in ROADWORK for thing in world.things) is roadwork


def test_deployment_has_many_look_alikes_and_pretraining_few():
    count = {
        domain.name: sum(t.kind in ALIKE for w in worlds(domain, roadwork=False) for t in w.things)
        for domain in (PRETRAIN, DEPLOYMENT)
    }
    assert count["deployment"] > 4 * count["pretrain"] > 0


def test_vehicles_do_not_stand_in_the_work_zone():
    for world in worlds(DEPLOYMENT, roadwork=True):
        cars = [one for one in world.things if KINDS[one.kind].label == "vehicle"]
        cones = [one for one in world.things if one.kind in ("cone", "drum")]
        for car, cone in product(cars, cones):
            beside = abs(car.x - cone.x) > (car.width + cone.width) / 2
            assert beside or not car.z < cone.z < car.z + car.length


def test_nobody_ahead_of_us_is_slower_than_we_are():
    ahead = [
        one
        for world in worlds(DEPLOYMENT, roadwork=False)
        for one in world.things
        if KINDS[one.kind].label == "vehicle" and abs(one.x) < 1
    ]
    assert ahead
    assert all(one.speed >= SPEED for one in ahead)


def test_oncoming_traffic_keeps_to_its_side():
    for world in worlds(PRETRAIN, roadwork=False):
        for one in world.things:
            if one.speed < 0:
                assert one.x < world.road.parting
