"""Plans: memory computed by hand, placement, time and advice."""

import pytest
import yaml

from cascade import manifest
from cascade.errors import ManifestError
from cascade.manifest import Member
from cascade.planning import resources
from cascade.planning.resources import CONTEXT_MB, IMAGE_MB, Gpu, memory_need, plan

MIB = 2**20
H100, L4 = Gpu("NVIDIA H100 80GB HBM3", 80 * 1024), Gpu("L4", 24 * 1024)
DETR = {"tier": "detection", "adapter": "detr", "license": "Apache-2.0", "precision": "bf16"}
DINO = {"tier": "embedding", "adapter": "dino", "license": "Apache-2.0", "precision": "bf16"}
SERVED = {
    "tier": "language", "adapter": "vision_language", "license": "Apache-2.0",
    "precision": "bf16", "optional": True, "params": {"model": "a/b"},
}  # fmt: skip


def member(template=DETR, **change):
    return Member(**{"name": "one", **template, **change})


def ensemble(*members, **change):
    content = [{"name": f"m{i}", **member} for i, member in enumerate(members)]
    return manifest.parse(yaml.safe_dump({"name": "mine", "members": content, **change}))


def test_weights_take_half_the_memory_only_if_stored_in_half_precision():
    assert memory_need(member(DINO, parameters_m=MIB / 1e6)).weights_mb == pytest.approx(2.0)
    full = member(DINO, parameters_m=MIB / 1e6, precision="fp32")
    assert memory_need(full).weights_mb == pytest.approx(4.0)
    autocast = member(DETR, parameters_m=MIB / 1e6)
    assert memory_need(autocast).weights_mb == pytest.approx(4.0)


def test_measured_memory_gives_activations_per_image():
    need = memory_need(
        member(parameters_m=25 * MIB / 1e6, gflops=9999, memory_mb=500, batch_size=16)
    )
    assert need.is_measured
    assert (need.weights_mb, need.activations_mb) == pytest.approx((100, 25))
    assert need.total_mb(16) == pytest.approx(500)
    assert need.total_mb(4) == pytest.approx(200)


def test_activations_are_estimated_from_operations():
    need = memory_need(member(parameters_m=10, gflops=100))
    assert not need.is_measured
    assert need.activations_mb == pytest.approx(110)
    assert memory_need(member(DINO, parameters_m=10, gflops=100)).activations_mb == pytest.approx(7)


def test_memory_of_a_server_does_not_depend_on_the_batch():
    need = memory_need(member(SERVED, parameters_m=1000 * MIB / 2e6))
    assert need.weights_mb == pytest.approx(1000)
    assert need.total_mb(1) == need.total_mb(64) > 10_000


def test_weights_add_up_and_activations_do_not():
    small = {**DETR, "parameters_m": MIB / 4e6, "memory_mb": 101, "batch_size": 10, "gflops": 1}
    large = {**DETR, "parameters_m": MIB / 2e6, "memory_mb": 402, "batch_size": 20, "gflops": 1}
    (load,) = plan(ensemble(small, large), 100, [H100]).loads
    assert load.members == ("m0", "m1")
    assert load.memory_mb == pytest.approx(CONTEXT_MB + 1 + 2 + 400 + 20 * IMAGE_MB)


def test_time_follows_from_operations_and_effective_speed():
    detr = {**DETR, "parameters_m": 1, "gflops": 480}  # 48 TFLOP/s on an H100: 100 images a second
    planned = plan(ensemble(detr), 1000, [H100])
    assert planned.seconds == pytest.approx(10)
    slower = plan(ensemble(detr), 1000, [L4])
    assert slower.seconds == pytest.approx(10 * 989 / 121)
    assert plan(ensemble({**detr, "precision": "fp32"}), 1000, [H100]).seconds > 10
    unknown = plan(ensemble(detr), 1000, [Gpu("Strange", 1e5)])
    assert unknown.seconds is None
    assert unknown.shares[0].fits


NAMES = [
    pytest.param("NVIDIA A100-SXM4-80GB", 312 / 989, id="name from CUDA"),
    pytest.param("l4", 121 / 989, id="lower case"),
    pytest.param("NVIDIA L40S", 362 / 989, id="not an L4"),
    pytest.param("NVIDIA GeForce RTX 4090", 165 / 989, id="consumer GPU"),
    pytest.param("Tesla T4", 65 / 989, id="old GPU"),
    pytest.param("Quadro FX", None, id="unknown"),
]


@pytest.mark.parametrize(("name", "speed"), NAMES)
def test_gpu_speed_by_name(name, speed):
    assert Gpu(name, 1).speed == pytest.approx(speed)


def test_members_are_balanced_between_gpus():
    detr = {**DETR, "parameters_m": 1, "gflops": 100}
    planned = plan(ensemble(detr, detr, detr, detr), 1000, [H100, H100])
    assert [len(load.members) for load in planned.loads] == [2, 2]
    assert planned.loads[0].seconds == planned.loads[1].seconds == planned.seconds


def test_batch_size_shrinks_to_fit():
    hungry = {**DETR, "parameters_m": MIB / 4e6, "gflops": 1, "batch_size": 16}
    planned = plan(ensemble({**hungry, "memory_mb": 1 + 16 * 1000}), 10, [Gpu("T4", 5000)])
    (share,) = planned.shares
    assert (share.gpu, share.batch_size) == (0, 4)
    assert share.advice == "batch_size 4 instead of 16"
    assert planned.loads[0].memory_mb <= 5000


def test_oversized_member_is_unplaced_with_advice():
    huge = {**DETR, "parameters_m": 10_000, "gflops": 1}
    planned = plan(ensemble(huge), 10, [L4])
    assert planned.unplaced == ("m0",)
    assert planned.shares[0].advice == "remove it, or add a GPU with 38 GB"
    assert planned.loads[0].members == ()
    assert planned.loads[0].memory_mb == 0


def test_without_gpus_only_members_without_weights_fit():
    tracker = {"tier": "geometry", "adapter": "byte_track", "license": "MIT", "parameters_m": 0}
    planned = plan(ensemble({**DETR, "parameters_m": 1}, tracker), 10, [])
    assert planned.unplaced == ("m0",)
    assert planned.seconds is None


def test_required_member_comes_before_an_optional_server():
    server = {**SERVED, "parameters_m": 4000}
    required = {**DETR, "parameters_m": 1500, "gflops": 1}
    assert plan(ensemble(required, server), 10, [L4]).unplaced == ("m1",)


def test_large_server_gets_a_whole_gpu():
    server = {**SERVED, "parameters_m": 33_000}
    others = [{**DETR, "parameters_m": 2000, "gflops": 100}] * 6
    planned = plan(ensemble(*others, server), 10, [H100, H100])
    assert planned.unplaced == ()
    assert {len(load.members) for load in planned.loads} == {1, 6}
    assert planned.shares[-1].advice == "its server needs 0.91 of the GPU's memory"


ROUTED = {"fast_a": ["m2"], "fast_b": ["m2", "m3"], "precision": ["m3"]}
SHARES = {"fast_a": 0.1, "fast_b": 0.2, "precision": 0.25}


def test_deep_tiers_process_routed_images_only():
    depth = {"tier": "geometry", "adapter": "depth_anything_2", "license": "MIT"}
    parsed = ensemble(DINO, depth, SERVED, SERVED, SERVED, routing=ROUTED)
    routed = plan(parsed, 1000, [H100], mode="routed", shares=SHARES)
    assert [share.images for share in routed.shares] == [1000, 250, 300, 450, 0]
    assert {share.images for share in plan(parsed, 1000, [H100]).shares} == {1000}


@pytest.mark.parametrize("shares", [{**SHARES, "fast_a": 1.5}, {"fast_a": 0.1}])
def test_share_out_of_range_raises(shares):
    with pytest.raises(ManifestError, match=r"The share of '.*' must be in \[0, 1\]"):
        plan(ensemble(DETR), 10, [H100], mode="routed", shares=shares)


def test_license_excludes_members_with_a_reason():
    strict = {**DETR, "license": "AGPL-3.0", "optional": True}
    planned = plan(ensemble(DETR, strict), 10, [H100], strictest_license="permissive")
    assert [share.member for share in planned.shares] == ["m0"]
    assert planned.left_out == {
        "m1": "The license AGPL-3.0 of m1 is copyleft; only permissive is allowed."
    }


def test_members_without_stated_cost_are_listed():
    planned = plan(ensemble({**DETR, "parameters_m": 1, "gflops": 1}, DETR), 10, [H100])
    assert planned.unknown == ("m1",)


def test_plan_is_deterministic():
    roadwork = manifest.load("roadwork")
    once, twice = (plan(roadwork, 10_000, [H100, H100]) for _ in range(2))
    assert once == twice


def test_roadwork_fits_on_two_large_gpus_and_roadwork_lite_on_a_small_one():
    full = plan(manifest.load("roadwork"), 10_000, [H100, H100])
    assert full.unplaced == ()
    assert all(load.memory_mb <= load.gpu.memory_mb for load in full.loads)
    lite = plan(manifest.load("roadwork_lite"), 10_000, [Gpu("RTX 3090", 12 * 1024)])
    assert lite.unplaced == ("vlm_fast_a",)
    assert {share.advice for share in lite.shares if share.fits} == {""}


def test_cost_tables_name_registered_adapters():
    families = set(resources._MB_PER_GFLOP) | set(resources._TFLOPS)
    assert families <= set(resources.registry.names())


# GPU memory measured by `make bench-gpu` on an H100, in MiB: at the manifest's batch size, and at
# half of it, which the manifest does not state.
MEASURED = {
    "dinov2_l": (2299, 1815),
    "siglip2_so400m": (4243, 3645),
    "rt_detr_v2_r50": (3545, 2223),
    "grounding_dino_base": (9081, 5355),
    "depth_anything_2_metric_outdoor_l": (9169, 5361),
    "sam2_1_l": (5497, 3843),
    "d_fine_l": (3143, 1999),
    "depth_anything_2_metric_outdoor_s": (3377, 2055),
}


@pytest.mark.parametrize("name", MEASURED)
def test_memory_is_within_15_percent_of_the_measurement(name):
    members = (*manifest.load("roadwork").members, *manifest.load("roadwork_lite").members)
    member = next(member for member in members if member.name == name)
    full, half = MEASURED[name]
    for batch_size, measured in ((member.batch_size, full), (member.batch_size // 2, half)):
        planned = CONTEXT_MB + memory_need(member).total_mb(batch_size) + batch_size * IMAGE_MB
        assert planned == pytest.approx(measured, rel=0.15)


SHARED_GPU = [
    pytest.param("roadwork", 32161, id="20 members"),
    pytest.param("roadwork_lite", 12305, id="7 members"),
]


@pytest.mark.parametrize(("name", "measured"), SHARED_GPU)
def test_memory_of_a_shared_gpu_is_close_to_the_measurement(name, measured):
    parsed = manifest.load(name)
    members = [
        member
        for member in parsed.members
        if member.tier != "language" and member.adapter not in ("worker", "byte_track")
    ]
    (load,) = plan(parsed.model_copy(update={"members": tuple(members)}), 1, [H100]).loads
    assert len(load.members) == len(members)
    assert load.memory_mb == pytest.approx(measured, rel=0.15)
