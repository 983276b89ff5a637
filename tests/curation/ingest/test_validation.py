"""Whole images and damaged files, made on the spot."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from curation.ingest import validation
from curation.ingest.records import Problem
from curation.ingest.validation import Checked


def picture(kind="JPEG", size=(60, 40), mode="RGB", **options):
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind, **options)
    return out.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture(exif=exif)


@pytest.mark.parametrize(
    ("name", "data", "size_px", "channels"),
    [
        pytest.param("a.jpg", picture(), (40, 60), 3, id="a photograph: height, then width"),
        pytest.param("a.jpg", turned(), (60, 40), 3, id="a turned photograph is taken upright"),
        pytest.param("a.png", picture("PNG", mode="L"), (40, 60), 1, id="a grey image"),
        pytest.param("a.jpg", picture("PNG"), (40, 60), 3, id="the suffix does not decide"),
    ],
)
def test_whole_images(tmp_path, name, data, size_px, channels):
    (tmp_path / name).write_bytes(data)
    file = validation.check(tmp_path / name)
    assert isinstance(file, Checked)
    assert (file.size_px, file.channels, file.bytes) == (size_px, channels, len(data))
    assert file.content_hash == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "has zero bytes", id="an empty file"),
        pytest.param(b"no image", "is no image of a known kind", id="text"),
        pytest.param(picture()[:700], "is damaged: image file is truncated", id="half a JPEG"),
        pytest.param(picture("PNG")[:700], "is damaged", id="half a PNG"),
        pytest.param(picture()[:20], "is no image of a known kind", id="a head only"),
        pytest.param(
            picture("PNG").replace(b"IDAT", b"IDAX"), "is", id="a PNG with a broken chunk"
        ),
    ],
)
def test_damaged_files_are_recorded_with_the_reason(tmp_path, data, message):
    (tmp_path / "a.jpg").write_bytes(data)
    problem = validation.check(tmp_path / "a.jpg")
    assert isinstance(problem, Problem)
    assert problem.error == "ImageError"
    assert problem.message.startswith(message)


def test_a_reader_of_other_formats_that_lacks_its_package_changes_nothing(tmp_path, monkeypatch):
    def opened(*_):
        raise ModuleNotFoundError("No module named 'pi_heif'")

    monkeypatch.setattr("PIL.Image.open", opened)
    (tmp_path / "a.jpg").write_bytes(b"no image")
    assert validation.check(tmp_path / "a.jpg").message == "is no image of a known kind"


def test_a_file_that_is_gone_is_a_problem_not_a_crash(tmp_path):
    problem = validation.check(tmp_path / "gone.jpg")
    assert (problem.error, problem.message) == (
        "FileNotFoundError", "cannot be read: No such file or directory",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("colour", "luma"),
    [((0, 0, 0), 0.0), ((255, 255, 255), 1.0), ((0, 255, 0), 0.587)],
    ids=["black", "white", "green counts most"],
)
def test_luma_is_the_mean_brightness(tmp_path, colour, luma):
    Image.new("RGB", (8, 8), colour).save(tmp_path / "a.png")
    assert validation.check(tmp_path / "a.png").luma == pytest.approx(luma, abs=0.005)


def test_many_files_come_back_in_order(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(30)]
    for i, path in enumerate(paths):
        Image.new("RGB", (i + 1, 1)).save(path)
    paths[7].write_bytes(b"")
    found = validation.check_all(paths)
    assert [getattr(one, "size_px", (0, 0))[1] for one in found] == [
        0 if i == 7 else i + 1 for i in range(30)
    ]


def test_exact_duplicates_by_hand():
    hashes = {"/c": "x", "/a": "x", "/b": "y", "/d": None, "/e": None}
    assert validation.exact_duplicates(hashes) == [["/a", "/c"]]
