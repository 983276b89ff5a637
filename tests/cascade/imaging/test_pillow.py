"""Images are opened alike, whatever else has been imported."""

import io

import PIL
import pytest
from PIL import Image

from cascade.imaging import pillow


def missing(*_):
    raise ModuleNotFoundError("No module named 'pi_heif'")


def test_the_head_is_read():
    data = io.BytesIO()
    Image.new("L", (3, 2)).save(data, "PNG")
    with pillow.opened(data) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (3, 2), "L")


def test_a_reader_of_other_formats_that_lacks_its_package_changes_nothing(monkeypatch):
    monkeypatch.setattr("PIL.Image.open", missing)
    with pytest.raises(PIL.UnidentifiedImageError, match="is no image of a known kind"):
        pillow.opened(io.BytesIO(b"no image"))


def test_a_file_that_is_gone_is_said_to_be(tmp_path):
    with pytest.raises(FileNotFoundError):
        pillow.opened(tmp_path / "gone.jpg")
