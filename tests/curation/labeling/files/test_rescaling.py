import pytest

from curation.labeling.files.rescaling import measured_in
from curation.labeling.protocol import Doubt

GOOD = [
    pytest.param((None, None), (200, 100), id="not said"),
    pytest.param((200, 100), (200, 100), id="the image's own"),
    pytest.param((100, 50), (100, 50), id="half as large"),
    pytest.param((67, 33), (67, 33), id="a third, rounded"),
]


@pytest.mark.parametrize(("returned", "expected"), GOOD)
def test_a_copy_of_the_same_shape_has_pixels_of_its_own(returned, expected):
    assert measured_in(returned, (200, 100), name="a") == expected


BAD = [(100, 200), (0, 0), (-200, -100), (200, 90), ("a", "b"), (200, None), (float("nan"), 1)]


@pytest.mark.parametrize("returned", BAD)
def test_another_shape_is_doubted(returned):
    found = measured_in(returned, (200, 100), name="a.jpg")
    assert isinstance(found, Doubt)
    assert found.what == "a.jpg"
    assert "the upright image is 200x100" in found.reason
