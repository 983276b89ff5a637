"""What a GPU decodes, tested on the CPU: who is handed to nvJPEG, and what is done around it."""

import io

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torchvision.io import ImageReadMode

from cascade.engine import reading
from cascade.engine.reading import on_gpu, orientation_of, read, upright
from cascade.images import Group
from cascade.images import decoded as decoded_by_opencv

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


HEADS = [
    pytest.param(jpeg(), 1, id="plain"),
    pytest.param(jpeg(progressive=True), 1, id="progressive"),
    pytest.param(jpeg("L"), 1, id="grey"),
    pytest.param(jpeg(orientation=6), 6, id="turned"),
    pytest.param(jpeg(orientation=0), 1, id="an orientation that is none"),
    pytest.param(jpeg() + bytes(100), 1, id="padded with zeros"),
    pytest.param(jpeg("CMYK"), None, id="four colours"),
    pytest.param(jpeg()[:-300], None, id="cut off"),
    pytest.param(jpeg(kind="PNG"), None, id="another format"),
    pytest.param(b"\xff\xd8\xff\xd9", None, id="an empty shell"),
    pytest.param(b"", None, id="nothing"),
]


@pytest.mark.parametrize(("data", "expected"), HEADS)
def test_only_whole_plain_jpegs_are_for_the_gpu(data, expected):
    assert orientation_of(data) == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_turned_as_opencv_turns_them(orientation):
    stored = torch.from_numpy(smooth()).permute(2, 0, 1)
    turned = upright(stored, orientation).permute(1, 2, 0).numpy()
    expected = decoded_by_opencv(jpeg(orientation=orientation, quality=95), "turned.jpg")
    assert turned.shape == expected.shape
    assert np.abs(turned.astype(int) - expected).mean() < 4


@pytest.fixture
def decoder(monkeypatch):
    """Put OpenCV in the place of nvJPEG, which turns nothing; it refuses what is marked."""
    calls = []

    def decode(files, *, mode, device):
        calls.append(len(files))
        assert mode == ImageReadMode.RGB
        if any(bytes(one.numpy()).find(b"refuse me") >= 0 for one in files):
            raise RuntimeError("nvJPEG status 4")
        flat = [Pillow.open(io.BytesIO(one.numpy().tobytes())).convert("RGB") for one in files]
        return [torch.from_numpy(np.array(one)).permute(2, 0, 1) for one in flat]

    monkeypatch.setattr(reading, "decode_jpeg", decode)
    return calls


def test_a_batch_is_decoded_in_one_call_and_the_rest_is_left(decoder):
    found = on_gpu([jpeg(), jpeg(kind="PNG"), jpeg(orientation=8)], CPU)
    assert decoder == [2]
    assert [None if one is None else tuple(one.shape) for one in found] == [
        (1, 3, 48, 64),
        None,
        (1, 3, 64, 48),
    ]


def test_a_file_that_is_refused_does_not_take_its_neighbours_along(decoder):
    files = [jpeg(), jpeg(comment=b"refuse me"), jpeg()]
    found = on_gpu(files, CPU)
    assert [one is None for one in found] == [False, True, False]
    assert decoder == [3, 1, 1, 1]


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with nvJPEG")
def test_a_gpu_sees_what_opencv_sees(tmp_path):
    paths = []
    for i, data in enumerate(one.values[0] for one in HEADS):
        paths.append(tmp_path / f"{i}.jpg")
        paths[-1].write_bytes(data)
    names = [path.stem for path in paths]
    (on_cpu,) = read([Group(names, paths)], device=CPU)
    (there,) = read([Group(names, paths)], device=torch.device("cuda"))
    there.ready.synchronize()
    assert there.batch.ids == on_cpu.batch.ids
    assert there.unreadable == on_cpu.unreadable
    assert there.batch.sizes == on_cpu.batch.sizes
    for one, other in zip(there.batch.images, on_cpu.batch.images, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 2
