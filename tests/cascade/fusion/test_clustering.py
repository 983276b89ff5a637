"""Compiled clustering equals the plain one."""

from dataclasses import replace

import numpy as np
import pytest

from cascade.fusion import clustering
from cascade.fusion.votes import Votes
from cascade.manifest import Fusion
from cascade.runtime.workload import Workload


def votes_of(boxes, *, members=6, images=20, snap=0, seed=0):
    """Return random votes near common objects; `snap` puts boxes and scores on a coarse grid."""
    rng = np.random.default_rng(seed)
    n = boxes * images
    objects = rng.uniform(0, 0.6, (max(n // 4, 1), 2))
    corner = objects[rng.integers(0, len(objects), n)] + rng.normal(0, 0.01, (n, 2))
    corners = np.clip(np.hstack([corner, corner + rng.uniform(0.02, 0.4, (n, 2))]), 0, 1)
    p = rng.uniform(0, 1, n)
    if snap:
        corners, p = np.round(corners * snap) / snap, np.round(p * 4) / 4
    return Votes(
        image=np.sort(rng.integers(0, images, n)), member=rng.integers(0, members, n),
        class_id=rng.integers(0, 3, n), p=p, boxes_xyxy=corners,
        ran=np.ones((images, members), bool), members=tuple("abcdef"[:members]),
        classes=("cone", "drum", "sign"),
    )  # fmt: skip


@pytest.fixture
def compiled(monkeypatch):
    """Make every call use the compiled code."""
    monkeypatch.setattr(clustering, "_workload", Workload(enough=0))


CASES = [
    pytest.param(votes_of(0), id="no boxes"),
    pytest.param(votes_of(1, images=40), id="images without boxes"),
    pytest.param(votes_of(30), id="many boxes"),
    pytest.param(votes_of(30, members=1), id="one member"),
    pytest.param(votes_of(40, snap=8), id="ties of scores and overlaps"),
    pytest.param(votes_of(40, snap=4), id="empty boxes"),
    pytest.param(votes_of(300, images=2), id="300 boxes per image"),
]
FUSIONS = [Fusion(), Fusion(iou=0.0, small_iou=0.0), Fusion(nms_iou=1.0, small_px=300.0)]


@pytest.mark.parametrize("fusion", FUSIONS, ids=["default", "all overlap", "all small"])
@pytest.mark.parametrize("votes", CASES)
def test_compiled_equals_plain(compiled, votes, fusion):
    sizes = np.random.default_rng(1).integers(100, 2000, (votes.n_images, 2))
    for plain, compiled_ in zip(
        clustering.cluster_plain(votes, sizes, fusion), clustering.cluster(votes, sizes, fusion),
        strict=True,
    ):  # fmt: skip
        assert compiled_.tolist() == plain.tolist()


def test_compiled_accepts_other_dtypes_and_layouts(compiled):
    votes = votes_of(20)
    other = replace(
        votes, boxes_xyxy=np.asfortranarray(votes.boxes_xyxy), member=votes.member.astype(np.int32)
    )
    sizes = np.full((votes.n_images, 2), 500)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(
            clustering.cluster(votes, sizes, Fusion()),
            clustering.cluster(other, sizes, Fusion()),
            strict=True,
        )
    )


def test_small_input_does_not_import_numba(home):
    code = """
import sys
import numpy as np
from cascade.fusion import clustering
from cascade.manifest import Fusion
from cascade.fusion.votes import Votes
empty = np.zeros(0, np.int64)
votes = Votes(image=empty, member=empty, class_id=empty, p=np.zeros(0), boxes_xyxy=np.zeros((0, 4)),
              ran=np.ones((3, 1), bool), members=("a",), classes=("cone",))
clustering.cluster(votes, np.ones((3, 2), np.int64), Fusion())
print("numba" in sys.modules)
"""
    assert home.python(code).strip() == "False"
