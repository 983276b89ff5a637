import pytest

from cascade import manifest as manifests
from cascade.planning.resources import Gpu
from curation.app.operators import estimates
from curation.storage import schema


@pytest.fixture
def five(dataset):
    """Five samples that nobody has looked at."""
    import fiftyone as fo

    dataset.add_samples([fo.Sample(filepath=f"/{n}.jpg") for n in range(5)])
    return dataset


@pytest.fixture(scope="module")
def tiny():
    return manifests.load("tiny")


def detectors(manifest):
    return manifest.of_tier("detection")


def test_nothing_measured_is_guessed_from_operations_and_says_so(five, tiny):
    found = estimates.of_members(five, tiny, detectors(tiny), machine=())
    assert (found.members, found.samples, found.predictions) == (3, 5, 15)
    gflops = 0.6 + 0.3 + 0.4
    assert found.seconds == pytest.approx(5 * gflops / estimates.CPU_GFLOPS)
    assert "guessed" in found.sentence
    assert found.sentence.startswith(f"3 members {estimates.TIMES} 5 samples ≈ 1 s")


def test_what_was_measured_on_the_dataset_counts(five, tiny):
    costs = {one.name: {"ms": 2000.0, "tier": "detection"} for one in detectors(tiny)}
    five.info[schema.INFO] = {schema.COSTS: costs}
    five.save()
    found = estimates.of_members(five, tiny, detectors(tiny), machine=())
    assert found.seconds == pytest.approx(3 * 5 * 2.0)
    assert "≈ 30 s" in found.sentence
    assert "measured on this dataset" in found.sentence


def test_what_is_there_is_not_counted(five, tiny):
    from cascade import taxonomy

    schema.declare(five, taxonomy.load("roadwork_core"), ["tiny_center"])
    five.limit(2).set_field("tiny_center.fingerprint", "f").save()
    found = estimates.of_members(five, tiny, detectors(tiny), machine=())
    assert found.predictions == 13
    assert "2 of 15 predictions are there" in found.sentence


def test_on_a_gpu_the_plan_counts(five, tiny):
    found = estimates.of_members(five, tiny, detectors(tiny), machine=[Gpu("H100", 81920)])
    assert found.seconds < 0.1
    assert "planned" in found.basis


def test_a_member_of_unknown_cost_gives_no_time(five):
    text = """
        name: unknown
        members:
          - {name: one, tier: detection, adapter: center_point,
             source: "package:tiny_center", licence: Apache-2.0}
        """
    parsed = manifests.parse(text)
    found = estimates.of_members(five, parsed, parsed.members, machine=())
    assert found.seconds is None
    assert found.memory_mb is None
    assert "time unknown" in found.sentence


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (41.2, "42 s"), (180, "3 min"), (9000, "2.5 h")],
)
def test_a_time_reads_as_people_say_it(seconds, text):
    assert estimates.duration(seconds) == text


@pytest.mark.parametrize(("mb", "text"), [(12.1, "13 MB"), (1126.4, "1.1 GB")])
def test_memory_reads_as_people_say_it(mb, text):
    assert estimates.size(mb) == text
