"""Validation and order of the pool."""

import numpy as np
import pytest

from curation.active_learning.selection.pool import Pool
from curation.errors import SelectionError


def pool(**columns):
    defaults = {
        "embeddings": np.eye(4, dtype=np.float32),
        "hardness": np.array([0.2, np.nan, 0.9, 0.2]),
        "drives": ["a"] * 4,
        "times_s": np.arange(4.0),
        "expected_boxes": np.ones(4),
    }
    return Pool(**{**defaults, **columns})


REFUSED = [
    pytest.param({"hardness": np.ones(3)}, "hardness must have length 4, got 3", id="hardness"),
    pytest.param({"drives": ["a"]}, "drives must have length 4, got 1", id="drives"),
    pytest.param(
        {"strata": {"rain": np.ones(2, bool)}}, r"strata\['rain'\] must have length 4", id="slice"
    ),
    pytest.param({"embeddings": np.ones(4)}, r"shape \(N, D\), got \(4,\)", id="one axis"),
    pytest.param(
        {"embeddings": np.diag([1, 2, 3, 1.0])},
        "2 do not, the first is row 1 with length 2",
        id="long",
    ),
    pytest.param({"embeddings": np.full((4, 4), np.nan)}, "4 do not, .* length nan", id="NaN"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_mismatched_columns_are_refused(change, message):
    with pytest.raises(SelectionError, match=message):
        pool(**change)


def test_hardest_first_puts_unknown_last():
    assert pool().hardest_first(np.arange(4)).tolist() == [2, 0, 3, 1]
    assert pool().hardest_first(np.array([1, 3])).tolist() == [3, 1]
    assert pool(hardness=None).hardest_first(np.array([2, 1])).tolist() == [2, 1]
