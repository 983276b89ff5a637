"""Image reading: upright RGB, shared views and broken files."""

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
from cascade.imaging import batches
from cascade.imaging.batches import Batch, read_batches

CPU = torch.device("cpu")


def pixels(height=12, width=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(array, kind="PNG", **options):
    buffer = io.BytesIO()
    Pillow.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def huge_png():
    """Return a PNG header that announces 200,000 by 200,000 pixels."""

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
def test_read_returns_lossless_pixels_as_rgb(tmp_path, kind):
    file = tmp_path / "image"
    file.write_bytes(encoded(pixels(), kind))
    assert (batches.read(file) == pixels()).all()


def test_read_puts_red_first(tmp_path):
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    file = tmp_path / "red.jpg"
    file.write_bytes(encoded(red, "JPEG", quality=95))
    assert batches.read(file).mean(axis=(0, 1)) == pytest.approx([254, 0, 0], abs=3)


MODES = [
    pytest.param(pixels()[..., 0], id="gray"),
    pytest.param(np.dstack([pixels(), pixels()[..., :1]]), id="with transparency"),
    pytest.param(pixels()[..., 0].astype(np.uint16) * 257, id="16 bit"),
]


@pytest.mark.parametrize("array", MODES)
def test_read_converts_every_mode_to_8_bit_rgb(tmp_path, array):
    file = tmp_path / "image.png"
    file.write_bytes(encoded(array))
    image = batches.read(file)
    assert (image.shape, image.dtype) == ((12, 16, 3), np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_read_applies_exif_orientation(tmp_path, orientation):
    smooth = np.array(Pillow.fromarray(pixels(3, 4)).resize((64, 48), Pillow.Resampling.BICUBIC))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "turned.jpg"
    file.write_bytes(encoded(smooth, "JPEG", quality=95, exif=exif))
    upright = smooth[:, ::-1] if orientation in (2, 4, 5, 7) else smooth
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation]  # to the left
    expected = np.rot90(upright, turns)
    image = batches.read(file)
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 4


BROKEN = [
    pytest.param(b"", ": the file is empty", id="empty"),
    pytest.param(b"not an image", "", id="text"),
    pytest.param(encoded(pixels())[:200], "", id="half a PNG"),
    pytest.param(encoded(pixels(120, 160), "JPEG")[:-500], "", id="truncated JPEG"),
    pytest.param(huge_png(), ": pixels <=", id="decompression bomb"),
]


@pytest.mark.parametrize(("data", "reason"), BROKEN)
def test_read_broken_file_raises_error_with_its_name(tmp_path, data, reason):
    file = tmp_path / "broken.png"
    file.write_bytes(data)
    with pytest.raises(ImageError, match=rf"^Cannot decode image `.*broken\.png`{reason}"):
        batches.read(file)


def test_read_absent_file(tmp_path):
    with pytest.raises(ImageError, match=r"Cannot read image `.*absent.png`: No such file"):
        batches.read(tmp_path / "absent.png")


def test_read_folder(tmp_path):
    with pytest.raises(ImageError, match=r"Cannot read image .*: Is a directory"):
        batches.read(tmp_path)


# --- a batch -----------------------------------------------------------------------------------


def batch_of(*arrays):
    return Batch(ids=tuple(map(str, range(len(arrays)))), images=arrays, device=CPU)


def test_view_stretches_all_images_to_one_size_and_is_cached():
    batch = batch_of(pixels(12, 16), pixels(20, 10))
    view = batch.view(8, 8)
    assert (view.shape, view.dtype) == ((2, 3, 8, 8), torch.uint8)
    assert batch.view(8, 8) is view
    assert batch.view(8, 9) is not view
    assert batch.sizes == [(12, 16), (20, 10)]
    assert len(batch) == 2


def test_view_of_the_same_size_equals_the_image():
    view = batch_of(pixels()).view(12, 16)
    assert (view[0].permute(1, 2, 0).numpy() == pixels()).all()


def test_view_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    view = batch_of(stripes).view(16, 16)
    assert view.float().std() < 10  # gray; point sampling would give black or white
    reference = functional.interpolate(
        torch.from_numpy(stripes).permute(2, 0, 1)[None].float(),
        (16, 16),
        mode="bilinear",
        antialias=True,
    )
    assert (view.float() - reference).abs().max() <= 1


def test_view_of_an_empty_batch_is_empty():
    assert batch_of().view(8, 9).shape == (0, 3, 8, 9)


def test_shared_computes_once():
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
    ids = [f"id {i}" for i in range(n)]
    return list(read_batches(ids, paths, batch_size=batch_size, device=CPU))


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [
        pytest.param(0, 4, [], id="no images"),
        pytest.param(4, 4, [4], id="one full batch"),
        pytest.param(23, 4, [4, 4, 4, 4, 4, 3], id="more batches than decoded ahead"),
    ],
)
def test_read_batches_keeps_the_order(tmp_path, n, batch_size, sizes):
    parts = read_all(tmp_path, n, batch_size)
    assert [len(batch) for batch, _ in parts] == sizes
    assert [image_id for batch, _ in parts for image_id in batch.ids] == [
        f"id {i}" for i in range(n)
    ]
    images = [image for batch, _ in parts for image in batch.images]
    assert all((image == pixels(seed=i)).all() for i, image in enumerate(images))


def test_read_batches_removes_and_reports_broken_files(tmp_path):
    parts = read_all(tmp_path, 6, 2, broken=(1, 4, 5))
    assert [batch.ids for batch, _ in parts] == [("id 0",), ("id 2", "id 3"), ()]
    assert [[image.id for image in failed] for _, failed in parts] == [
        ["id 1"],
        [],
        ["id 4", "id 5"],
    ]
    assert parts[0][1][0].reason.endswith("1.png`: the file is empty.")


def test_read_batches_closed_early_leaves_no_thread(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for path in paths:
        path.write_bytes(encoded(pixels()))
    before = threading.active_count()
    reader = read_batches([str(i) for i in range(20)], paths, batch_size=2, device=CPU)
    next(reader)
    assert threading.active_count() > before
    reader.close()
    assert threading.active_count() == before
