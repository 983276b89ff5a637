"""Reading ahead for a device: in order, with what could not be read, and the same everywhere."""

import io

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from cascade.engine.loader import read
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


def test_on_a_cpu_groups_come_in_order_with_what_could_not_be_read(tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(5)]
    for path in paths:
        path.write_bytes(jpeg())
    paths[3].unlink()
    groups = [Group(("a", "b"), paths[:2]), Group((), ()), Group(("c", "d", "e"), paths[2:])]
    found = list(read(groups, device=CPU))
    assert [one.batch.ids for one in found] == [("a", "b"), (), ("c", "e")]
    assert [one.group for one in found] == groups
    assert found[2].unreadable[0].id == "d"
    assert found[0].ready is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_sees_what_a_cpu_sees(tmp_path):
    paths = [tmp_path / str(i) for i in range(len(FILES))]
    for path, data in zip(paths, FILES, strict=True):
        path.write_bytes(data)
    names = [path.stem for path in paths]
    (on_cpu,) = read([Group(names, paths)], device=CPU)
    (there,) = read([Group(names, paths)], device=torch.device("cuda"))
    there.ready.synchronize()
    assert there.batch.ids == on_cpu.batch.ids
    assert there.unreadable == on_cpu.unreadable
    for one, other in zip(there.batch.images, on_cpu.batch.images, strict=True):
        assert np.array_equal(one, other)


def test_files_that_are_damaged_are_named_and_the_others_come(tmp_path):
    paths = [tmp_path / str(i) for i in range(len(FILES))]
    for path, data in zip(paths, FILES, strict=True):
        path.write_bytes(data)
    (found,) = read([Group([path.stem for path in paths], paths)], device=CPU)
    assert {one.id for one in found.unreadable} >= {"7", "8"}
    assert set(found.batch.ids) == {path.stem for path in paths} - {
        one.id for one in found.unreadable
    }
