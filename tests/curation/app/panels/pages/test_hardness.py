import pytest

from curation.app.panels.pages import hardness


@pytest.mark.parametrize(
    ("centre", "expected"),
    [
        pytest.param(0.025, (0.0, 0.05), id="the first column"),
        pytest.param(0.525, (0.5, 0.55), id="one in the middle"),
        pytest.param(0.975, (0.95, 1.0), id="the last holds 1, too"),
        pytest.param(1.0, (0.95, 1.0), id="the end belongs to the last"),
    ],
)
def test_a_column_knows_its_ends(centre, expected):
    assert hardness.edges(centre, 20) == pytest.approx(expected)
