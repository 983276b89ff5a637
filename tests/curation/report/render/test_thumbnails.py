import base64
import io

import pytest
from PIL import Image, ImageColor

from curation.report.page import Picture
from curation.report.render import thumbnails

BLUE = ImageColor.getrgb(thumbnails.TRUTH_COLOR)
ORANGE = ImageColor.getrgb(thumbnails.CONSENSUS_COLOR)


@pytest.fixture
def gray(tmp_path):
    def make(size, name="gray.png", **options):
        path = tmp_path / name
        Image.new("RGB", size, (128, 128, 128)).save(path, **options)
        return path

    return make


def drawn(path, truth, consensus):
    return thumbnails.draw(Picture(str(path), "", "", truth, consensus))


def test_truth_is_blue_and_consensus_orange(gray, make_boxes):
    truth, said = make_boxes(("cone", 0.1, 0.1, 0.4, 0.9)), make_boxes(("cone", 0.6, 0.1, 0.9, 0.9))
    image = drawn(gray((320, 240)), truth, said)
    assert image.getpixel((32, 120)) == BLUE
    assert image.getpixel((192, 120)) == ORANGE
    assert image.getpixel((160, 120)) == (128, 128, 128)


def test_doubtful_boxes_are_not_drawn(gray, make_boxes):
    image = drawn(gray((320, 240)), None, make_boxes(("cone", 0.1, 0.1, 0.4, 0.9, 0.2)))
    assert image.getcolors() == [(320 * 240, (128, 128, 128))]


SIZES = [
    pytest.param((1920, 1080), (320, 180), id="wide"),
    pytest.param((300, 2400), (30, 240), id="tall"),
    pytest.param((64, 48), (320, 240), id="tiny ones are enlarged"),
    pytest.param((1, 1), (240, 240), id="a single pixel"),
]


@pytest.mark.parametrize(("size", "expected"), SIZES)
def test_pictures_are_small(gray, make_boxes, size, expected):
    assert drawn(gray(size), None, make_boxes()).size == expected


def test_pictures_are_upright(gray, make_boxes):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert drawn(gray((640, 320), "a.jpg", exif=exif), None, make_boxes()).size == (120, 240)


@pytest.mark.parametrize("content", [None, b"", b"no image"])
def test_what_cannot_be_read_is_said_on_the_picture(tmp_path, make_boxes, content):
    path = tmp_path / "bad.jpg"
    if content is not None:
        path.write_bytes(content)
    assert drawn(path, None, make_boxes()).size == (320, 240)


def test_the_address_is_a_jpeg(gray, make_boxes):
    uri = thumbnails.to_data_uri(Picture(str(gray((640, 360))), "", "", None, make_boxes()))
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        assert (image.format, image.size) == ("JPEG", (320, 180))
