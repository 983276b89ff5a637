"""Read-ahead loading: order, unreadable files, and equal pixels on every device."""

import io

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from cascade.engine.loader import load_batches
from cascade.imaging.batches import Group

CPU = torch.device("cpu")


def smooth(height=48, width=64):
    noise = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    size = (width, height)
    return np.array(Pillow.fromarray(noise).resize(size, Pillow.Resampling.BICUBIC))


def jpeg(mode="RGB", orientation=None, kind="JPEG", **options):
    buffer, exif = io.BytesIO(), Pillow.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image = Pillow.fromarray(smooth()).convert(mode)
    image.save(buffer, kind, **({"exif": exif} if kind == "JPEG" else {}), **options)
    return buffer.getvalue()


FILES = [
    jpeg(), jpeg(progressive=True), jpeg("L"), jpeg(orientation=6), jpeg("CMYK"), jpeg()[:-300],
    jpeg(kind="PNG"), b"\xff\xd8\xff\xd9", b"",
]  # fmt: skip


def test_groups_are_loaded_in_order_with_unreadable_images(tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(5)]
    for path in paths:
        path.write_bytes(jpeg())
    paths[3].unlink()
    groups = [Group(("a", "b"), paths[:2]), Group((), ()), Group(("c", "d", "e"), paths[2:])]
    loaded = list(load_batches(groups, device=CPU))
    assert [item.batch.ids for item in loaded] == [("a", "b"), (), ("c", "e")]
    assert [item.group for item in loaded] == groups
    assert loaded[2].unreadable[0].id == "d"
    assert loaded[0].ready is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gets_the_pixels_of_the_cpu(tmp_path):
    paths = [tmp_path / str(i) for i in range(len(FILES))]
    for path, data in zip(paths, FILES, strict=True):
        path.write_bytes(data)
    names = [path.stem for path in paths]
    (on_cpu,) = load_batches([Group(names, paths)], device=CPU)
    (on_gpu,) = load_batches([Group(names, paths)], device=torch.device("cuda"))
    on_gpu.ready.synchronize()
    assert on_gpu.batch.ids == on_cpu.batch.ids
    assert on_gpu.unreadable == on_cpu.unreadable
    for ours, expected in zip(on_gpu.batch.images, on_cpu.batch.images, strict=True):
        assert np.array_equal(ours, expected)


def test_damaged_files_are_reported_and_the_others_loaded(tmp_path):
    paths = [tmp_path / str(i) for i in range(len(FILES))]
    for path, data in zip(paths, FILES, strict=True):
        path.write_bytes(data)
    (loaded,) = load_batches([Group([path.stem for path in paths], paths)], device=CPU)
    assert {image.id for image in loaded.unreadable} >= {"7", "8"}
    assert set(loaded.batch.ids) == {path.stem for path in paths} - {
        image.id for image in loaded.unreadable
    }
