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


def test_more_of_the_same_is_no_drift():
    found = drift.measure(around(centres(0), 100, 1), around(centres(0), 500, 2), [None] * 500)
    assert not found.drifted
    assert found.far < 0.1


def test_another_world_is_drift_and_the_sentence_says_how_far():
    found = drift.measure(around(centres(9), 100, 1), around(centres(0), 500, 2), [None] * 500)
    assert found.drifted
    assert found.far == 1.0
    assert "100% of 100 new images are farther from the 500 earlier ones" in found.sentence


def test_half_of_another_world_is_at_the_border():
    night = np.vstack([around(centres(9), 60, 1), around(centres(0), 40, 2)])
    known = around(centres(0), 500, 3)
    assert drift.measure(night, known, [None] * 500).drifted
    assert not drift.measure(night, known, [None] * 500, most_far=0.8).drifted


def test_frames_of_one_drive_do_not_make_a_new_drive_look_strange():
    """50 drives of 10 almost equal frames each; the night is a new drive of the same kind."""
    drives = around(centres(0), 50, 2)
    known = np.repeat(drives, 10, axis=0) + 1e-4
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    names = [f"drive{i // 10}" for i in range(500)]
    night = np.repeat(around(centres(0), 1, 77), 10, axis=0)
    assert not drift.measure(night, known, names).drifted
    assert drift.measure(night, known, [None] * 500).drifted  # as if each frame were its own drive


def test_too_little_says_nothing():
    many = around(centres(0), 100, 1)
    assert drift.measure(many[:4], many, [None] * 100) is None
    assert drift.measure(many, many[:19], [None] * 19) is None
    assert drift.measure(many, many, ["one drive"] * 100) is None


def test_what_does_not_fit_is_refused():
    many = around(centres(0), 100, 1)
    with pytest.raises(SelectionError, match="length 100, got 3"):
        drift.measure(many, many, [None] * 3)
    with pytest.raises(SelectionError, match=r"\(N, 32\)"):
        drift.measure(many[:, :8], many, [None] * 100)
