import numpy as np
import pytest
from PIL import Image, ImageColor

from cascade.errors import ImageError
from curation.app.panels import side_by_side
from curation.app.panels.side_by_side import Tile
from curation.report.figures import GREEN, SKY, VERMILION

WHOLE = np.array([[0.1, 0.1, 0.9, 0.9]])


@pytest.fixture
def grey(tmp_path):
    file = tmp_path / "grey.png"
    Image.fromarray(np.full((90, 160, 3), 100, np.uint8)).save(file)
    return str(file)


def colours(image):
    return {one for _, one in image.getcolors(maxcolors=1 << 24)}


def test_right_wrong_and_missed_have_their_colours(grey):
    for part, colour in (("right", GREEN), ("wrong", VERMILION), ("missed", SKY)):
        drawn = side_by_side.draw(grey, [Tile("m", "", **{part: WHOLE})], labeled=True)
        assert ImageColor.getrgb(colour) in colours(drawn)


def test_tiles_lie_in_rows(grey):
    one = side_by_side.draw(grey, [Tile("a", "")], labeled=True)
    five = side_by_side.draw(grey, [Tile(str(i), "") for i in range(5)], labeled=True)
    assert five.width > 2 * side_by_side.TILE_PX
    assert five.height >= 3 * one.height


def test_an_image_that_is_gone_is_an_error_in_words():
    with pytest.raises(ImageError, match="Cannot read image"):
        side_by_side.to_data_uri("/none.png", [Tile("m", "")], labeled=True)
