"""Delivery of images to a real server: served, uploaded, remote and blurred."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curation.errors import LabelingError
from curation.labeling.blur import Blur
from curation.labeling.label_studio import image_delivery
from curation.labeling.label_studio.api import projects, uploads
from curation.labeling.label_studio.api.tasks import pages
from curation.labeling.label_studio.image_delivery import deliver, folders_below


@pytest.fixture
def project(connect, request):
    """Return a client and the id of an empty project."""
    with connect() as client:
        created = projects.create(
            client,
            title="images",
            description="",
            label_config="<View></View>",
            overlap=1,
        )
        yield client, created.id


@pytest.fixture
def photo(make_task):
    """Return `photo(folder, number)`: a task with a unique image in the folder."""

    def make(folder, number, size_wh=(64, 48)):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"Bild {number} ä#?.png"
        pixels = np.random.default_rng(number).integers(0, 255, (*size_wh[::-1], 3), np.uint8)
        Image.fromarray(pixels).save(path)
        return make_task(number, filepath=str(path), size_wh=size_wh)

    return make


def as_served(client, delivery, task):
    return client.fetch(delivery.addresses[task.sample_id])


def test_images_below_document_root_are_served(label_studio, project, photo):
    client, number = project
    tasks = [photo(label_studio.files / "served" / str(i), i) for i in (1, 2, 3)]
    delivery = deliver(client, number, tasks)
    assert (delivery.served, delivery.uploaded, delivery.remote) == (3, 0, 0)
    for task in tasks:
        assert as_served(client, delivery, task) == Path(task.filepath).read_bytes()
    assert deliver(client, number, tasks) == delivery
    assert uploads.folders(client, number) == [str(label_studio.files / "served")]
    assert uploads.uploads(client, number) == []


def test_other_images_are_uploaded_once(label_studio, project, photo, tmp_path):
    client, number = project
    tasks = [photo(tmp_path / "photos", i) for i in (1, 2, 3)]
    delivery = deliver(client, number, tasks)
    assert (delivery.served, delivery.uploaded) == (0, 3)
    for task in tasks:
        assert as_served(client, delivery, task) == Path(task.filepath).read_bytes()
    assert deliver(client, number, [*tasks, photo(tmp_path / "photos", 4)]).uploaded == 4
    assert len(uploads.uploads(client, number)) == 4


def test_images_that_differ_on_the_server_are_uploaded(label_studio, project, photo):
    """The same path may have different content on two machines."""
    client, number = project
    task = photo(label_studio.files / "other_disk", 1)
    here = Path(task.filepath)
    seen_by_server, content = here.read_bytes(), b"content of our disk"

    class OtherDisk(type(client)):
        def fetch(self, path):
            data = super().fetch(path)
            return content if data == seen_by_server and "local-files" in path else data

    client.__class__ = OtherDisk
    delivery = deliver(client, number, [task])
    assert (delivery.served, delivery.uploaded) == (0, 1)
    assert delivery.addresses["id1"].startswith("/data/upload/")


def test_cloud_addresses_are_unchanged(project, make_task):
    client, number = project
    addresses = ["s3://bucket/a b.jpg", "gs://bucket/b.jpg", "https://images.invalid/c.jpg"]
    tasks = [replace(make_task(i), filepath=address) for i, address in enumerate(addresses)]
    delivery = deliver(client, number, tasks)
    assert list(delivery.addresses.values()) == addresses
    assert delivery.remote == 3


def test_all_kinds_of_delivery_together(label_studio, project, photo, make_task, tmp_path):
    client, number = project
    tasks = [
        photo(label_studio.files / "mixed", 1),
        photo(tmp_path, 2),
        replace(make_task(3), filepath="s3://bucket/3.jpg"),
    ]
    delivery = deliver(client, number, tasks)
    assert (delivery.served, delivery.uploaded, delivery.remote) == (1, 1, 1)


def test_uploads_are_batched_and_retried(project, photo, tmp_path, monkeypatch, proxy, connect):
    monkeypatch.setattr(image_delivery, "_MAX_BATCH_BYTES", 40_000)
    _, number = project
    tasks = [photo(tmp_path / "many", i) for i in range(1, 13)]
    left = iter([None, "413", "drop after"])
    proxy.fault = lambda method, path: next(left, None) if method == "POST" else None
    with connect(proxy.url) as client:
        delivery = deliver(client, number, tasks, document_root=tmp_path / "elsewhere")
        assert delivery.uploaded == 12
        assert len(uploads.uploads(client, number)) == 12
        names = set(delivery.addresses.values())
    assert len(names) == 12


def test_full_disk_is_one_line(project, photo, tmp_path, proxy, connect):
    _, number = project
    proxy.fault = lambda method, path: "507" if method == "POST" and "import" in path else None
    task = photo(tmp_path / "full", 1)
    with connect(proxy.url) as client, pytest.raises(LabelingError, match="its disk is full"):
        deliver(client, number, [task])


def test_missing_image_is_named(project, make_task, tmp_path):
    client, number = project
    task = make_task(1, filepath=str(tmp_path / "nothing.png"))
    with pytest.raises(LabelingError, match=r"nothing\.png: No such file .*Restore the image"):
        deliver(client, number, [task])


def test_rotated_photograph_is_delivered_unchanged(label_studio, project, make_task):
    """Browsers rotate images by their EXIF; rotating them here as well would do it twice."""
    client, number = project
    folder = label_studio.files / "turned"
    folder.mkdir()
    image, exif = Image.new("RGB", (64, 48)), Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "6.jpg", exif=exif)
    task = make_task(1, filepath=str(folder / "6.jpg"), size_wh=(48, 64))
    content = as_served(client, deliver(client, number, [task]), task)
    with Image.open(io.BytesIO(content)) as seen:
        assert (seen.size, seen.getexif()[0x0112]) == ((64, 48), 6)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(["/r/a/1.png", "/r/a/b/2.png"], ["/r/a"], id="one folder in another"),
        pytest.param(["/r/a/b/1.png", "/r/a/c/2.png"], ["/r/a"], id="two siblings"),
        pytest.param(
            ["/r/a/1.png", "/r/b/c/2.png"], ["/r/a", "/r/b"], id="only the root in common"
        ),
        pytest.param(["/r/1.png"], [], id="in the root, which is not served"),
        pytest.param(["/rr/a/1.png"], [], id="a name that starts like the root"),
        pytest.param([], [], id="none"),
    ],
)
def test_fewest_folders_are_returned(files, expected):
    assert folders_below(Path("/r"), map(Path, files)) == [Path(path) for path in expected]


def gray_patch(pixels):
    """Find the same patch in every image."""
    return np.array([[20, 10, 40, 30, 0.9]])


class TestBlurred:
    @pytest.fixture
    def blur(self):
        return Blur({"faces": gray_patch})

    def test_blurred_copy_is_shown_even_if_original_is_served(
        self, label_studio, project, photo, blur
    ):
        client, number = project
        tasks = [photo(label_studio.files / "faces" / str(i), i) for i in (1, 2)]
        plain = deliver(client, number, tasks)
        delivery = deliver(client, number, tasks, blur=blur)
        assert (delivery.served, delivery.uploaded) == (0, 2)
        assert delivery.blurred == {"id1": "faces: 1", "id2": "faces: 1"}
        assert delivery.addresses.keys() == plain.addresses.keys()
        for task in tasks:
            original = np.asarray(Image.open(task.filepath)).astype(int)
            content = as_served(client, delivery, task)
            shown = np.asarray(Image.open(io.BytesIO(content))).astype(int)
            assert (shown != original)[14:26, 24:36].any(axis=2).mean() > 0.9
            assert (shown == original)[40:].all()
        again = deliver(client, number, tasks, blur=blur)
        assert again.addresses == delivery.addresses
        assert len(uploads.uploads(client, number)) == 2, "a second push uploads nothing"

    def test_earlier_upload_is_not_reused_for_blurring(self, project, photo, tmp_path, blur):
        client, number = project
        task = photo(tmp_path / "photos", 1)
        before = deliver(client, number, [task]).addresses["id1"]
        assert deliver(client, number, [task], blur=blur).addresses["id1"] != before

    def test_cloud_image_cannot_be_blurred(self, project, make_task, blur):
        client, number = project
        task = replace(make_task(1), filepath="s3://bucket/1.jpg")
        with pytest.raises(LabelingError, match=r"s3://bucket/1\.jpg.*without `--blur`"):
            deliver(client, number, [task], blur=blur)

    def test_blurred_round_requires_blurring(self, label_studio, labeler, photo, tmp_path):
        tasks = [photo(tmp_path / "photos", i) for i in (1, 2)]
        blurring = labeler(tasks, blur=Blur({"faces": gray_patch}))
        blurring.push(tasks[:1])
        with labeler(tasks).open_project() as (client, number):
            ((row,),) = pages(client, number)
        assert row["data"]["blurred"] == "faces: 1"
        assert labeler(tasks).push(tasks[:1]).existing == 1
        with pytest.raises(LabelingError, match=r"were blurred\. Push with `--blur faces`"):
            labeler(tasks).push(tasks)
        assert blurring.push(tasks).pushed == 1
