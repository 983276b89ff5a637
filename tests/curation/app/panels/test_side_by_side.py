import numpy as np
import pytest
from PIL import Image, ImageColor

from cascade.errors import ImageError
from curation.app.panels import side_by_side
from curation.app.panels.side_by_side import Tile
from curation.report.figures import GREEN, SKY, VERMILION

BOX = np.array([[0.1, 0.1, 0.9, 0.9]])


@pytest.fixture
def gray(tmp_path):
    file = tmp_path / "gray.png"
    Image.fromarray(np.full((90, 160, 3), 100, np.uint8)).save(file)
    return str(file)


def colors(image):
    return {color for _, color in image.getcolors(maxcolors=1 << 24)}


def test_right_wrong_and_missed_boxes_have_their_colors(gray):
    for part, color in (("right", GREEN), ("wrong", VERMILION), ("missed", SKY)):
        picture = side_by_side.draw(gray, [Tile("m", "", **{part: BOX})], labeled=True)
        assert ImageColor.getrgb(color) in colors(picture)


def test_tiles_are_arranged_in_rows(gray):
    single = side_by_side.draw(gray, [Tile("a", "")], labeled=True)
    five = side_by_side.draw(gray, [Tile(str(i), "") for i in range(5)], labeled=True)
    assert five.width > 2 * side_by_side.TILE_PX
    assert five.height >= 3 * single.height


def test_missing_image_raises_image_error():
    with pytest.raises(ImageError, match="Cannot read image"):
        side_by_side.to_data_uri("/none.png", [Tile("m", "")], labeled=True)
