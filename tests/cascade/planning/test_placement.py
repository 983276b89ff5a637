"""Placement: all members on every GPU, one GPU per member, or several passes."""

import pytest
import yaml

from cascade import manifest
from cascade.planning.placement import Lane, place
from cascade.planning.resources import CONTEXT_MB, IMAGE_MB, Gpu

MIB = 2**20
GB = 1024


def ensemble(*sizes_mb, batch_size=1):
    """Return detectors with these memory sizes, nearly all of it weights."""
    rows = [
        {
            "name": f"m{i}", "tier": "detection", "adapter": "center_point", "license": "MIT",
            "parameters_m": (size - 100) * MIB / 4e6, "memory_mb": size, "gflops": 10,
            "batch_size": batch_size,
        }
        for i, size in enumerate(sizes_mb)
    ]  # fmt: skip
    return manifest.parse(yaml.safe_dump({"name": "mine", "members": rows}))


def place_all(manifest_, *memory_gb):
    gpus = [Gpu("H100", gb * GB) for gb in memory_gb]
    return place(manifest_, [member.name for member in manifest_.members], gpus)


def lanes(placement):
    return [[(lane.members, lane.devices) for lane in lanes] for lanes in placement.passes]


def test_members_that_fit_together_run_on_every_gpu():
    placement = place_all(ensemble(2000, 3000), 80, 80, 80)
    assert lanes(placement) == [[(("m0", "m1"), ("cuda:0", "cuda:1", "cuda:2"))]]


def test_gpu_too_small_for_all_members_is_unused():
    assert lanes(place_all(ensemble(9000, 9000), 80, 8)) == [[(("m0", "m1"), ("cuda:0",))]]


def test_members_that_do_not_fit_together_run_side_by_side():
    placement = place_all(ensemble(9000, 9000), 12, 12)
    assert sorted(lanes(placement)[0]) == [
        (("m0",), ("cuda:1",)),
        (("m1",), ("cuda:0",)),
    ] or sorted(lanes(placement)[0]) == [(("m0",), ("cuda:0",)), (("m1",), ("cuda:1",))]
    assert len(placement.passes) == 1


def test_single_small_gpu_needs_several_passes():
    placement = place_all(ensemble(9000, 9000, 1000), 12)
    assert lanes(placement) == [[(("m0", "m2"), ("cuda:0",))], [(("m1",), ("cuda:0",))]]
    assert placement.describe() == "m0, m2 on cuda:0 -- then m1 on cuda:0"


def test_gpus_share_the_passes_when_there_are_too_few():
    placement = place_all(ensemble(9000, 9000, 9000), 12, 12)
    assert lanes(placement) == [[((name,), ("cuda:0", "cuda:1"))] for name in ("m0", "m1", "m2")]


def test_batches_shrink_to_fit_and_oversized_members_are_unplaced():
    rows = [
        {
            "name": name, "tier": "detection", "adapter": "center_point", "license": "MIT",
            "parameters_m": weights * MIB / 4e6, "memory_mb": weights + 16 * 1000, "gflops": 1,
            "batch_size": 16,
        }
        for name, weights in (("hungry", 100), ("huge", 40_000))
    ]  # fmt: skip
    parsed = manifest.parse(yaml.safe_dump({"name": "mine", "members": rows}))
    placement = place_all(parsed, 6)
    assert placement.batch_sizes == {"hungry": 4}
    assert CONTEXT_MB + 100 + 4 * (1000 + IMAGE_MB) <= 6 * GB
    assert placement.unplaced == ("huge",)
    assert lanes(placement) == [[(("hungry",), ("cuda:0",))]]


def test_without_gpus_all_members_run_on_the_cpu():
    assert place(ensemble(100, 100), ["m1"], []).passes == ((Lane(("m1",), ("cpu",)),),)


def test_servers_and_no_members_need_no_lane():
    roadwork = manifest.load("roadwork")
    speakers = [member.name for member in roadwork.of_tier("language")]
    assert speakers
    assert place(roadwork, speakers, [Gpu("H100", 80 * GB)]).passes == ()
    assert place(roadwork, [], []).describe() == "nothing to place"


@pytest.mark.parametrize("count", [1, 2, 8])
def test_detectors_of_roadwork_share_large_gpus(count):
    roadwork = manifest.load("roadwork")
    names = [member.name for member in roadwork.of_tier("detection")]
    (lanes_,) = place(roadwork, names, [Gpu("H100", 80 * GB)] * count).passes
    assert [lane.devices for lane in lanes_] == [tuple(f"cuda:{i}" for i in range(count))]
