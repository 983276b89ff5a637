import pytest

from cascade import manifest
from cascade.planning.resources import Gpu
from curation.app.operators import estimates
from curation.storage import schema


@pytest.fixture
def five(dataset):
    """Five samples without predictions."""
    import fiftyone as fo

    dataset.add_samples([fo.Sample(filepath=f"/{n}.jpg") for n in range(5)])
    return dataset


@pytest.fixture(scope="module")
def tiny():
    return manifest.load("tiny")


def detectors(ensemble):
    return ensemble.of_tier("detection")


def test_unmeasured_time_is_guessed_from_operations(five, tiny):
    estimate = estimates.estimate_run(five, tiny, detectors(tiny), machine=())
    assert (estimate.members, estimate.samples, estimate.predictions) == (3, 5, 15)
    gflops = 0.6 + 0.3 + 0.4
    assert estimate.seconds == pytest.approx(5 * gflops / estimates.CPU_GFLOPS)
    assert "guessed" in estimate.sentence
    assert estimate.sentence.startswith(f"3 members {estimates.TIMES} 5 samples ≈ 217 ms")


def test_measured_time_takes_precedence(five, tiny):
    costs = {member.name: {"ms": 2000.0, "tier": "detection"} for member in detectors(tiny)}
    five.info[schema.INFO] = {schema.COSTS: costs}
    five.save()
    estimate = estimates.estimate_run(five, tiny, detectors(tiny), machine=())
    assert estimate.seconds == pytest.approx(3 * 5 * 2.0)
    assert "≈ 30 s" in estimate.sentence
    assert "measured on this dataset" in estimate.sentence


def test_existing_predictions_are_not_counted(five, tiny):
    from cascade import taxonomy

    schema.declare(five, taxonomy.load("roadwork_core"), ["tiny_center"])
    five.limit(2).set_field("tiny_center.fingerprint", "f").save()
    estimate = estimates.estimate_run(five, tiny, detectors(tiny), machine=())
    assert estimate.predictions == 13
    assert "2 of 15 predictions exist already" in estimate.sentence


def test_plan_applies_on_gpu(five, tiny):
    estimate = estimates.estimate_run(five, tiny, detectors(tiny), machine=[Gpu("H100", 81920)])
    assert estimate.seconds < 0.1
    assert "planned" in estimate.basis


def test_member_of_unknown_cost_has_no_time(five):
    text = """
        name: unknown
        members:
          - {name: one, tier: detection, adapter: center_point,
             source: "package:tiny_center", license: Apache-2.0}
        """
    parsed = manifest.parse(text)
    estimate = estimates.estimate_run(five, parsed, parsed.members, machine=())
    assert estimate.seconds is None
    assert estimate.memory_mb is None
    assert "time unknown" in estimate.sentence
