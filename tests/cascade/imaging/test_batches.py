"""Reading images: upright RGB, shared views, and what becomes of broken files."""

import io
import struct
import threading
import zlib

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch.nn import functional

from cascade.errors import ImageError
from cascade.imaging import batches as images
from cascade.imaging.batches import Batch, batches

CPU = torch.device("cpu")


def pixels(height=12, width=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(array, kind="PNG", **options):
    buffer = io.BytesIO()
    Pillow.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def huge_png():
    """A header that announces 200,000 by 200,000 pixels."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")
    )


# --- one image ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_files_come_back_as_rgb(tmp_path, kind):
    file = tmp_path / "image"
    file.write_bytes(encoded(pixels(), kind))
    assert (images.read(file) == pixels()).all()


def test_red_is_the_first_channel(tmp_path):
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    file = tmp_path / "red.jpg"
    file.write_bytes(encoded(red, "JPEG", quality=95))
    assert images.read(file).mean(axis=(0, 1)) == pytest.approx([254, 0, 0], abs=3)


MODES = [
    pytest.param(pixels()[..., 0], id="grey"),
    pytest.param(np.dstack([pixels(), pixels()[..., :1]]), id="with transparency"),
    pytest.param(pixels()[..., 0].astype(np.uint16) * 257, id="16 bit"),
]


@pytest.mark.parametrize("array", MODES)
def test_every_mode_becomes_three_channels_of_8_bit(tmp_path, array):
    file = tmp_path / "image.png"
    file.write_bytes(encoded(array))
    read = images.read(file)
    assert (read.shape, read.dtype) == ((12, 16, 3), np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_camera_is_applied(tmp_path, orientation):
    smooth = np.array(Pillow.fromarray(pixels(3, 4)).resize((64, 48), Pillow.Resampling.BICUBIC))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "turned.jpg"
    file.write_bytes(encoded(smooth, "JPEG", quality=95, exif=exif))
    upright = smooth[:, ::-1] if orientation in (2, 4, 5, 7) else smooth
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation]  # to the left
    expected = np.rot90(upright, turns)
    read = images.read(file)
    assert read.shape == expected.shape
    assert np.abs(read.astype(int) - expected).mean() < 4


BROKEN = [
    pytest.param(b"", "has zero bytes", id="empty"),
    pytest.param(b"not an image", "is no image that can be decoded", id="text"),
    pytest.param(encoded(pixels())[:200], "is no image that can be decoded", id="half a PNG"),
    pytest.param(
        encoded(pixels(120, 160), "JPEG")[:-500], "is no image that can be decoded", id="cut JPEG"
    ),
    pytest.param(huge_png(), "is no image that can be decoded: pixels <=", id="a bomb"),
]


@pytest.mark.parametrize(("data", "message"), BROKEN)
def test_a_broken_file_is_an_error_that_names_it(tmp_path, data, message):
    file = tmp_path / "broken.png"
    file.write_bytes(data)
    with pytest.raises(ImageError, match=f"broken.png {message}"):
        images.read(file)


def test_an_absent_file_says_so(tmp_path):
    with pytest.raises(ImageError, match=r"absent.png cannot be read: No such file"):
        images.read(tmp_path / "absent.png")


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(ImageError, match="cannot be read: Is a directory"):
        images.read(tmp_path)


# --- a batch -----------------------------------------------------------------------------------


def batch_of(*arrays):
    return Batch(ids=tuple(map(str, range(len(arrays)))), images=arrays, device=CPU)


def test_a_view_stretches_all_to_one_size_and_is_made_once():
    batch = batch_of(pixels(12, 16), pixels(20, 10))
    view = batch.view(8, 8)
    assert (view.shape, view.dtype) == ((2, 3, 8, 8), torch.uint8)
    assert batch.view(8, 8) is view
    assert batch.view(8, 9) is not view
    assert batch.sizes == [(12, 16), (20, 10)]
    assert len(batch) == 2


def test_a_view_of_the_same_size_is_the_image():
    view = batch_of(pixels()).view(12, 16)
    assert (view[0].permute(1, 2, 0).numpy() == pixels()).all()


def test_a_view_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    view = batch_of(stripes).view(16, 16)
    assert view.float().std() < 10  # grey, where point sampling gives black or white
    reference = functional.interpolate(
        torch.from_numpy(stripes).permute(2, 0, 1)[None].float(),
        (16, 16),
        mode="bilinear",
        antialias=True,
    )
    assert (view.float() - reference).abs().max() <= 1


def test_an_empty_batch_has_an_empty_view():
    assert batch_of().view(8, 9).shape == (0, 3, 8, 9)


def test_what_is_shared_is_computed_once():
    calls = []
    batch = batch_of(pixels())
    for _ in range(3):
        assert batch.shared("key", lambda: calls.append(1) or "value") == "value"
    assert calls == [1]


# --- many --------------------------------------------------------------------------------------


def read_all(tmp_path, n, batch_size, broken=()):
    paths = []
    for i in range(n):
        paths.append(tmp_path / f"{i}.png")
        paths[-1].write_bytes(b"" if i in broken else encoded(pixels(seed=i)))
    return list(batches([f"id {i}" for i in range(n)], paths, batch_size=batch_size, device=CPU))


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [
        pytest.param(0, 4, [], id="no images, no batches"),
        pytest.param(4, 4, [4], id="one whole batch"),
        pytest.param(23, 4, [4, 4, 4, 4, 4, 3], id="more batches than are decoded ahead"),
    ],
)
def test_batches_keep_the_order(tmp_path, n, batch_size, sizes):
    parts = read_all(tmp_path, n, batch_size)
    assert [len(batch) for batch, _ in parts] == sizes
    assert [name for batch, _ in parts for name in batch.ids] == [f"id {i}" for i in range(n)]
    every = [image for batch, _ in parts for image in batch.images]
    assert all((image == pixels(seed=i)).all() for i, image in enumerate(every))


def test_a_broken_file_leaves_its_batch_and_is_reported_beside_it(tmp_path):
    parts = read_all(tmp_path, 6, 2, broken=(1, 4, 5))
    assert [batch.ids for batch, _ in parts] == [("id 0",), ("id 2", "id 3"), ()]
    assert [[one.id for one in failed] for _, failed in parts] == [["id 1"], [], ["id 4", "id 5"]]
    assert parts[0][1][0].reason.endswith("1.png has zero bytes.")


def test_a_reader_that_stops_early_leaves_no_thread_behind(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for path in paths:
        path.write_bytes(encoded(pixels()))
    before = threading.active_count()
    reader = batches([str(i) for i in range(20)], paths, batch_size=2, device=CPU)
    next(reader)
    assert threading.active_count() > before
    reader.close()
    assert threading.active_count() == before
