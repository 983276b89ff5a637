"""Invalid commands fail with one line that gives the reason and a remedy, and change nothing."""

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

CASES = {
    "an empty folder": (
        ["ingest", "empty"],
        r"empty contains no images\. Expected files that end in \.bmp, .*or videos\.$",
    ),
    "a folder without images": (["round", "texts"], r"texts contains no images\. Expected files"),
    "no such folder": (
        ["ingest", "nowhere"],
        r"nowhere does not exist\. Specify a folder of images",
    ),
    "a misspelt adapter": (
        ["predict", "photos", "--manifest", "misspelt.yaml"],
        r"misspelt\.yaml: members\[1\]\.adapter: .*'centre_pont'\. Did you mean 'center_point'\?$",
    ),
    "a misspelt adapter, before ingest": (
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
    "a field without predictions": (["score", "photos", "--members", "drive"], r"'drive'.*"),
    "choosing before embedding": (["choose", "photos"], r"[Rr]un `curate (embed|score) photos`"),
    "a round without labels": (
        ["round", "photos"],
        r"'photos' has no held-back ground truth.*`--labeler files`.*`--hold-back`",
    ),
    "round 0": (["report", "photos", "--round", 0], r"Rounds count from 1, got 0"),
}


@pytest.fixture(scope="module")
def shared(new_home, manifest, tmp_path_factory):
    """A home with one unlabeled dataset, and the files of the commands."""
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
def failures(shared):
    """Output of every command, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        outputs = pool.map(lambda row: shared.curate(*row[0], code=1), CASES.values())
        return dict(zip(CASES, outputs, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_command_fails_with_one_line(failures, case):
    _, expected = CASES[case]
    assert re.search(expected, only_line(failures[case]))


def test_failed_commands_change_nothing(shared, failures):
    assert datasets(shared) == ["photos"]
    assert not (shared.folder / "datasets").exists()


def photos(folder, count=6):
    """Write a folder of small pictures."""
    folder.mkdir()
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.jpg")


def only_line(output):
    """Return the only line of a command on stderr."""
    assert "Traceback" not in output.out
    lines = output.err.splitlines()
    assert len(lines) == 1, output.err
    assert lines[0].startswith("Error: ")
    return lines[0]


def fill(disk):
    """Fill the disk completely."""
    with (disk / "fill").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass
    assert shutil.disk_usage(disk).free == 0


def datasets(home):
    uri = mongod.status(home.settings).uri
    with mongod.open_client(uri) as client:
        return [dataset["name"] for dataset in client.fiftyone.datasets.find()]


@pytest.fixture
def disk():
    """Return `disk(folder, options)`, which mounts a small disk until the test ends."""
    mounted = []

    def mount(folder, options):
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.which("mount") is None:
            pytest.skip("`mount` is not installed.")
        process = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True
        )
        if process.returncode:
            pytest.skip(f"Cannot mount a disk: {process.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


HOMES = {
    "a disk of 4 MB": ("size=4m", r"has 4 MB free; the database needs .* Free some, or set CURAT"),
    "a read-only disk": ("ro", r"Cannot write to .* \(Read-only .* or set CURATION_HOME"),
}


@pytest.mark.parametrize(("options", "expected"), HOMES.values(), ids=list(HOMES))
def test_home_on_unusable_disk_fails_with_one_line(disk, home, options, expected):
    disk(home.folder, options)
    assert re.search(expected, only_line(home.curate("quickstart", code=1)))
    assert not (home.folder / "datasets").exists()


def test_home_below_a_file_fails_with_one_line(home):
    (home.user / "file").write_text("")
    output = home.curate("ingest", home.user, code=1, CURATION_HOME=home.user / "file" / "home")
    assert re.search(r"Cannot write to .* \(Not a directory\)", only_line(output))


def test_full_disk_of_scenes_fails_with_one_line(disk, home):
    disk(home.folder / "datasets" / "quickstart", "size=300k")
    line = only_line(home.curate("quickstart", code=1))
    assert "No space left on device" in line
    assert "Free some space there, then run the same command again" in line
    assert list((home.folder / "datasets" / "quickstart").iterdir()) == []


def test_full_disk_of_vectors_fails_with_one_line(disk, shared, manifest):
    folder = disk(shared.settings.vectors("photos"), "size=16k")
    line = only_line(shared.curate("embed", "photos", "--manifest", manifest, code=1))
    assert f"Cannot store embeddings in {folder}" in line
    assert "No space left on device" in line
    assert "Make room" in line


def test_read_only_report_folder_fails_with_one_line(disk, shared):
    folder = disk(shared.folder / "datasets" / "photos" / "rounds", "ro")
    line = only_line(shared.curate("report", "photos", code=1))
    assert f"Cannot write {folder}/round-01 (Read-only file system)" in line


def test_full_disk_of_database_keeps_written_samples(disk, home):
    """mongod exits if it cannot write; after space is freed, the earlier samples are intact."""
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
