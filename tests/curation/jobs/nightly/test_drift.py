import numpy as np
import pytest

from curation.errors import SelectionError
from curation.jobs.nightly import drift


def around(centres, n, seed, spread=0.3):
    rng = np.random.default_rng(seed)
    rows = centres[rng.integers(len(centres), size=n)] + spread * rng.normal(size=(n, 32)) / 32**0.5
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def centres(seed, n=8):
    found = np.random.default_rng(seed).normal(size=(n, 32))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_similar_images_have_not_drifted():
    found = drift.measure(around(centres(0), 100, 1), around(centres(0), 500, 2), [None] * 500)
    assert not found.drifted
    assert found.far < 0.1


def test_different_images_have_drifted():
    found = drift.measure(around(centres(9), 100, 1), around(centres(0), 500, 2), [None] * 500)
    assert found.drifted
    assert found.far == 1.0
    assert "100% of 100 new images are farther from the 500 earlier ones" in found.sentence


def test_half_of_different_images_is_at_limit():
    night = np.vstack([around(centres(9), 60, 1), around(centres(0), 40, 2)])
    known = around(centres(0), 500, 3)
    assert drift.measure(night, known, [None] * 500).drifted
    assert not drift.measure(night, known, [None] * 500, most_far=0.8).drifted


def test_new_drive_alone_is_not_drift():
    """50 drives of 10 almost equal frames each; the night is a new drive of the same kind."""
    drives = around(centres(0), 50, 2)
    known = np.repeat(drives, 10, axis=0) + 1e-4
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    names = [f"drive{i // 10}" for i in range(500)]
    night = np.repeat(around(centres(0), 1, 77), 10, axis=0)
    assert not drift.measure(night, known, names).drifted
    assert drift.measure(night, known, [None] * 500).drifted  # as if each frame were its own drive


def test_too_few_images_give_no_result():
    many = around(centres(0), 100, 1)
    assert drift.measure(many[:4], many, [None] * 100) is None
    assert drift.measure(many, many[:19], [None] * 19) is None
    assert drift.measure(many, many, ["one drive"] * 100) is None


def test_mismatched_shapes_are_refused():
    many = around(centres(0), 100, 1)
    with pytest.raises(SelectionError, match="length 100, got 3"):
        drift.measure(many, many, [None] * 3)
    with pytest.raises(SelectionError, match=r"\(N, 32\)"):
        drift.measure(many[:, :8], many, [None] * 100)
