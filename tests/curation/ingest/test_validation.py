"""Validation of generated images and damaged files."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from curation.ingest import validation
from curation.ingest.records import Problem
from curation.ingest.validation import CheckedImage


def picture(kind="JPEG", size=(60, 40), mode="RGB", **options):
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind, **options)
    return out.getvalue()


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture(exif=exif)


@pytest.mark.parametrize(
    ("name", "data", "size_px", "channels"),
    [
        pytest.param("a.jpg", picture(), (40, 60), 3, id="a photograph: height, then width"),
        pytest.param("a.jpg", rotated(), (60, 40), 3, id="a rotated photograph, upright"),
        pytest.param("a.png", picture("PNG", mode="L"), (40, 60), 1, id="a gray image"),
        pytest.param("a.jpg", picture("PNG"), (40, 60), 3, id="the suffix does not decide"),
    ],
)
def test_intact_images_are_described(tmp_path, name, data, size_px, channels):
    (tmp_path / name).write_bytes(data)
    file = validation.check_image(tmp_path / name)
    assert isinstance(file, CheckedImage)
    assert (file.size_px, file.channels, file.bytes) == (size_px, channels, len(data))
    assert file.content_hash == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "has zero bytes", id="an empty file"),
        pytest.param(b"no image", "is not an image in a known format", id="text"),
        pytest.param(picture()[:700], "is damaged: image file is truncated", id="half a JPEG"),
        pytest.param(picture("PNG")[:700], "is damaged", id="half a PNG"),
        pytest.param(picture()[:20], "is not an image in a known format", id="a head only"),
        pytest.param(
            picture("PNG").replace(b"IDAT", b"IDAX"), "is", id="a PNG with a broken chunk"
        ),
    ],
)
def test_damaged_file_is_reported_with_reason(tmp_path, data, message):
    (tmp_path / "a.jpg").write_bytes(data)
    problem = validation.check_image(tmp_path / "a.jpg")
    assert isinstance(problem, Problem)
    assert problem.error == "ImageError"
    assert problem.message.startswith(message)


def test_missing_package_of_other_formats_changes_nothing(tmp_path, monkeypatch):
    def opened(*_):
        raise ModuleNotFoundError("No module named 'pi_heif'")

    monkeypatch.setattr("PIL.Image.open", opened)
    (tmp_path / "a.jpg").write_bytes(b"no image")
    assert validation.check_image(tmp_path / "a.jpg").message == "is not an image in a known format"


def test_missing_file_is_a_problem(tmp_path):
    problem = validation.check_image(tmp_path / "gone.jpg")
    assert (problem.error, problem.message) == (
        "FileNotFoundError", "cannot be read: No such file or directory",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("color", "luma"),
    [((0, 0, 0), 0.0), ((255, 255, 255), 1.0), ((0, 255, 0), 0.587)],
    ids=["black", "white", "green counts most"],
)
def test_luma_is_the_mean_brightness(tmp_path, color, luma):
    Image.new("RGB", (8, 8), color).save(tmp_path / "a.png")
    assert validation.check_image(tmp_path / "a.png").luma == pytest.approx(luma, abs=0.005)


def test_results_are_in_order(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(30)]
    for i, path in enumerate(paths):
        Image.new("RGB", (i + 1, 1)).save(path)
    paths[7].write_bytes(b"")
    results = validation.check_images(paths)
    assert [getattr(result, "size_px", (0, 0))[1] for result in results] == [
        0 if i == 7 else i + 1 for i in range(30)
    ]


def test_exact_duplicates_are_grouped():
    hashes = {"/c": "x", "/a": "x", "/b": "y", "/d": None, "/e": None}
    assert validation.exact_duplicates(hashes) == [["/a", "/c"]]
