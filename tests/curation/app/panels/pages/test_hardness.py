import pytest

from curation.app.panels.pages import hardness


@pytest.mark.parametrize(
    ("center", "expected"),
    [
        pytest.param(0.025, (0.0, 0.05), id="first column"),
        pytest.param(0.525, (0.5, 0.55), id="middle column"),
        pytest.param(0.975, (0.95, 1.0), id="last column includes 1"),
        pytest.param(1.0, (0.95, 1.0), id="1 belongs to the last column"),
    ],
)
def test_column_edges(center, expected):
    assert hardness.column_edges(center, 20) == pytest.approx(expected)
