"""Who runs where: data-parallel, then member by member, then pass after pass."""

import pytest
import yaml

from cascade import manifest
from cascade.planning.placement import Lane, place
from cascade.planning.resources import CONTEXT_MB, IMAGE_MB, Gpu

MIB = 2**20
GB = 1024


def ensemble(*sizes_mb, batch_size=1):
    """Return detectors that take so much memory each, nearly all of it weights."""
    rows = [
        {
            "name": f"m{i}", "tier": "detection", "adapter": "center_point", "licence": "MIT",
            "parameters_m": (size - 100) * MIB / 4e6, "memory_mb": size, "gflops": 10,
            "batch_size": batch_size,
        }
        for i, size in enumerate(sizes_mb)
    ]  # fmt: skip
    return manifest.parse(yaml.safe_dump({"name": "mine", "members": rows}))


def placed(made, *memory_gb, names=None):
    gpus = [Gpu("H100", gb * GB) for gb in memory_gb]
    return place(made, names or [one.name for one in made.members], gpus)


def lanes(placement):
    return [[(one.members, one.devices) for one in lanes] for lanes in placement.passes]


def test_members_that_fit_together_are_on_every_gpu():
    found = placed(ensemble(2000, 3000), 80, 80, 80)
    assert lanes(found) == [[(("m0", "m1"), ("cuda:0", "cuda:1", "cuda:2"))]]


def test_a_gpu_that_is_too_small_for_all_is_left_out():
    assert lanes(placed(ensemble(9000, 9000), 80, 8)) == [[(("m0", "m1"), ("cuda:0",))]]


def test_members_that_do_not_fit_together_are_side_by_side_on_several_gpus():
    found = placed(ensemble(9000, 9000), 12, 12)
    assert sorted(lanes(found)[0]) == [(("m0",), ("cuda:1",)), (("m1",), ("cuda:0",))] or sorted(
        lanes(found)[0]
    ) == [(("m0",), ("cuda:0",)), (("m1",), ("cuda:1",))]
    assert len(found.passes) == 1


def test_on_one_gpu_they_take_turns():
    found = placed(ensemble(9000, 9000, 1000), 12)
    assert lanes(found) == [[(("m0", "m2"), ("cuda:0",))], [(("m1",), ("cuda:0",))]]
    assert found.describe() == "m0, m2 on cuda:0 -- then m1 on cuda:0"


def test_turns_are_shared_by_gpus_when_there_are_too_few_for_all():
    found = placed(ensemble(9000, 9000, 9000), 12, 12)
    assert lanes(found) == [[((name,), ("cuda:0", "cuda:1"))] for name in ("m0", "m1", "m2")]


def test_what_fits_in_smaller_batches_gets_them_and_what_fits_nowhere_is_named():
    rows = [
        {
            "name": name, "tier": "detection", "adapter": "center_point", "licence": "MIT",
            "parameters_m": weights * MIB / 4e6, "memory_mb": weights + 16 * 1000, "gflops": 1,
            "batch_size": 16,
        }
        for name, weights in (("hungry", 100), ("huge", 40_000))
    ]  # fmt: skip
    made = manifest.parse(yaml.safe_dump({"name": "mine", "members": rows}))
    found = placed(made, 6)
    assert found.batch_sizes == {"hungry": 4}
    assert CONTEXT_MB + 100 + 4 * (1000 + IMAGE_MB) <= 6 * GB
    assert found.unplaced == ("huge",)
    assert lanes(found) == [[(("hungry",), ("cuda:0",))]]


def test_without_a_gpu_all_are_on_the_cpu():
    assert place(ensemble(100, 100), ["m1"], []).passes == ((Lane(("m1",), ("cpu",)),),)


def test_servers_and_nobody_take_no_lane():
    roadwork = manifest.load("roadwork")
    speakers = [one.name for one in roadwork.of_tier("language")]
    assert speakers
    assert place(roadwork, speakers, [Gpu("H100", 80 * GB)]).passes == ()
    assert place(roadwork, [], []).describe() == "nothing to place"


@pytest.mark.parametrize("count", [1, 2, 8])
def test_the_detectors_of_roadwork_share_the_images_of_large_gpus(count):
    roadwork = manifest.load("roadwork")
    names = [one.name for one in roadwork.of_tier("detection")]
    (only,) = place(roadwork, names, [Gpu("H100", 80 * GB)] * count).passes
    assert [one.devices for one in only] == [tuple(f"cuda:{i}" for i in range(count))]
