"""Image opening, independent of other imported packages."""

import io

import PIL
import pytest
from PIL import Image

from cascade.imaging import pillow


def missing(*_):
    raise ModuleNotFoundError("No module named 'pi_heif'")


def test_open_image_reads_the_header():
    data = io.BytesIO()
    Image.new("L", (3, 2)).save(data, "PNG")
    with pillow.open_image(data) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (3, 2), "L")


def test_missing_heic_package_counts_as_unknown_format(monkeypatch):
    monkeypatch.setattr("PIL.Image.open", missing)
    with pytest.raises(PIL.UnidentifiedImageError, match="Cannot identify the image format"):
        pillow.open_image(io.BytesIO(b"no image"))


def test_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        pillow.open_image(tmp_path / "gone.jpg")
