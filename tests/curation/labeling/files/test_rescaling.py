import pytest

from curation.labeling.files.rescaling import reference_size
from curation.labeling.protocol import Doubt

SCALED = [
    pytest.param((None, None), (200, 100), id="missing"),
    pytest.param((200, 100), (200, 100), id="the image's own"),
    pytest.param((100, 50), (100, 50), id="half as large"),
    pytest.param((67, 33), (67, 33), id="a third, rounded"),
]


@pytest.mark.parametrize(("returned", "expected"), SCALED)
def test_scaled_copy_has_its_own_size(returned, expected):
    assert reference_size(returned, (200, 100), name="a") == expected


OTHER = [
    (100, 200),
    (0, 0),
    (-200, -100),
    (200, 90),
    ("a", "b"),
    (200, None),
    (float("nan"), 1),
]


@pytest.mark.parametrize("returned", OTHER)
def test_other_shape_is_doubted(returned):
    doubt = reference_size(returned, (200, 100), name="a.jpg")
    assert isinstance(doubt, Doubt)
    assert doubt.subject == "a.jpg"
    assert "the upright image is 200x100" in doubt.reason
