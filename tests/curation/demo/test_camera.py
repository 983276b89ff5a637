import numpy as np
import pytest

from curation.demo.camera import FOCAL_PX, HEIGHT_M, Camera, depth_of_rows

CAMERA = Camera(center_px=320, horizon_px=160)


@pytest.mark.parametrize(
    ("point", "pixel"),
    [
        pytest.param((0, HEIGHT_M, 10), (320, 160), id="camera height lies on the horizon"),
        pytest.param((0, 0, 14), (320, 160 + 56), id="1.4 m below at 14 m: 560 * 1.4 / 14"),
        pytest.param((2.5, 0, 14), (420, 216), id="2.5 m to the right: 560 * 2.5 / 14"),
    ],
)
def test_points_project(point, pixel):
    assert CAMERA.project(*point) == pytest.approx(pixel)


def test_ground_agrees_with_project_on_a_bend():
    camera = Camera(bend=0.002)
    points = np.array([(-3.0, 5.0), (0.0, 20.0), (4.0, 70.0)])
    expected = [camera.project(x, 0.0, z) for x, z in points]
    assert camera.ground(points) == pytest.approx(np.array(expected))


def test_depth_of_rows_undoes_the_projection():
    rows = np.array([HEIGHT_M * FOCAL_PX / 20, HEIGHT_M * FOCAL_PX / 5])
    assert depth_of_rows(rows) == pytest.approx([20, 5])
