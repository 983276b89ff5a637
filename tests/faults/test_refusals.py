"""What cannot be done is refused in one line that says why and what to do; nothing is begun."""

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from curation.storage.database import mongod

pytestmark = pytest.mark.slow

REFUSED = {
    "an empty folder": (
        ["ingest", "empty"],
        r"empty holds no images\. Expected files that end in \.bmp, .*or videos\.$",
    ),
    "a folder without an image": (["round", "texts"], r"texts holds no images\. Expected files"),
    "no such folder": (["ingest", "nowhere"], r"nothing at .*nowhere\. Give a folder of images"),
    "a misspelt adapter": (
        ["predict", "photos", "--manifest", "misspelt.yaml"],
        r"misspelt\.yaml: members\[1\]\.adapter: .*'centre_pont'\. Did you mean 'center_point'\?$",
    ),
    "a misspelt adapter, before anything is ingested": (
        ["round", "more", "--manifest", "misspelt.yaml"],
        r"members\[1\]\.adapter: .*'centre_pont'\. Did you mean 'center_point'\?$",
    ),
    "a misspelt manifest": (["embed", "more", "--manifest", "tinny"], r"'tinny'.*'tiny'"),
    "a misspelt taxonomy": (["ingest", "more", "--taxonomy", "roadwrk"], r"'roadwrk'.*'roadwork'"),
    "a misspelt dataset": (
        ["predict", "photo"],
        r"No dataset is named 'photo'\. Did you mean 'photos'\? .*`curate ingest",
    ),
    "a misspelt field": (
        ["score", "photos", "--members", "weathr,drive"],
        r"'photos' has no field 'weathr'\. Did you mean 'weather'",
    ),
    "a field that is no prediction": (["score", "photos", "--members", "drive"], r"'drive'.*"),
    "choosing before embedding": (["choose", "photos"], r"[Rr]un `curate (embed|score) photos`"),
    "a round without labels": (
        ["round", "photos"],
        r"No ground truth of 'photos' is held back.*`--labeler files`.*`--hold-back`",
    ),
    "round 0": (["report", "photos", "--round", 0], r"Rounds count from 1, got 0"),
}


@pytest.fixture(scope="module")
def shared(new_home, manifest, tmp_path_factory):
    """A home with one dataset, of photos without labels, and what the commands name."""
    with new_home(tmp_path_factory.mktemp("home") / "user") as home:
        for name in ("empty", "texts"):
            (home.user / name).mkdir()
        (home.user / "texts" / "notes.txt").write_text("no image")
        for name in ("photos", "more"):
            photos(home.user / name)
        wrong = manifest.read_text().replace("adapter: center_point", "adapter: centre_pont", 1)
        (home.user / "misspelt.yaml").write_text(wrong)
        home.curate("ingest", "photos")
        yield home


@pytest.fixture(scope="module")
def refused(shared):
    """What came of every command, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda row: shared.curate(*row[0], code=1), REFUSED.values())
        return dict(zip(REFUSED, done, strict=True))


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(refused, case):
    _, expected = REFUSED[case]
    assert re.search(expected, only_line(refused[case]))


def test_nothing_was_begun(shared, refused):
    assert datasets(shared) == ["photos"]
    assert not (shared.folder / "datasets").exists()


def photos(folder, count=6):
    """Make a folder of small pictures."""
    folder.mkdir()
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.jpg")


def only_line(done):
    """Return the one line that a command said on stderr."""
    assert "Traceback" not in done.out
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("Error: ")
    return lines[0]


def fill(disk):
    """Leave no byte free."""
    with (disk / "fill").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass
    assert shutil.disk_usage(disk).free == 0


def datasets(home):
    uri = mongod.status(home.settings).uri
    with mongod.open_client(uri) as client:
        return [one["name"] for one in client.fiftyone.datasets.find()]


@pytest.fixture
def disk():
    """Return `disk(folder, options)`, which mounts a small disk there until the test ends."""
    mounted = []

    def mount(folder, options):
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.which("mount") is None:
            pytest.skip("There is no `mount` here.")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"No disk can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


HOMES = {
    "a disk of 4 MB": ("size=4m", r"has 4 MB free; the database needs .* Free some, or set CURAT"),
    "a disk that is read-only": ("ro", r"cannot be written to \(Read-only .* or set CURATION_HOME"),
}


@pytest.mark.parametrize(("options", "expected"), HOMES.values(), ids=list(HOMES))
def test_a_home_on(disk, home, options, expected):
    disk(home.folder, options)
    assert re.search(expected, only_line(home.curate("quickstart", code=1)))
    assert not (home.folder / "datasets").exists()


def test_a_home_below_a_file(home):
    (home.user / "file").write_text("")
    done = home.curate("ingest", home.user, code=1, CURATION_HOME=home.user / "file" / "home")
    assert "cannot be written to (Not a directory)" in only_line(done)


def test_the_disk_of_the_scenes_is_full(disk, home):
    disk(home.folder / "datasets" / "quickstart", "size=300k")
    line = only_line(home.curate("quickstart", code=1))
    assert "No space left on device" in line
    assert "Make room there, then run the same command again" in line
    assert list((home.folder / "datasets" / "quickstart").iterdir()) == []


def test_the_disk_of_the_vectors_is_full(disk, shared, manifest):
    folder = disk(shared.settings.vectors("photos"), "size=16k")
    line = only_line(shared.curate("embed", "photos", "--manifest", manifest, code=1))
    assert f"Vectors cannot be stored in {folder}" in line
    assert "No space left on device" in line
    assert "Make room" in line


def test_the_page_cannot_be_written(disk, shared):
    folder = disk(shared.folder / "datasets" / "photos" / "rounds", "ro")
    line = only_line(shared.curate("report", "photos", code=1))
    assert f"{folder}/round-01 cannot be written (Read-only file system)" in line


def test_the_disk_of_the_database_fills_up(disk, home):
    """mongod ends itself when it cannot write; with room made, what was written is there."""
    for name in ("photos", "more"):
        photos(home.user / name)
    folder = disk(home.folder, "size=700m")
    home.curate("ingest", "photos")
    fill(folder)
    line = only_line(home.curate("ingest", "more", code=1))
    assert "database" in line
    assert "run the same command again" in line
    assert "MB free; the database needs" in only_line(home.curate("ingest", "more", code=1))
    (folder / "fill").unlink()
    assert "added: 6" in home.curate("ingest", "more").out
    assert datasets(home) == ["photos", "more"]
