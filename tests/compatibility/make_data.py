"""Write the files of `data_0_1_0`: what release 0.1.0 leaves in its home, database and registry.

Run with release 0.1.0 as the importable package, in a virtual environment that has its
dependencies:

    git worktree add ../release-0.1.0 711a89c
    PYTHONPATH=../release-0.1.0 python tests/compatibility/make_data.py

Never run it with another release: the files would no longer show that old data can be read. Two
runs give the same content, but for identifiers and times.

The files, in `data_0_1_0`:

    database/        every collection of MongoDB, one canonical extended JSON document per line
    registry.sql.gz  MLflow's SQLite database, as SQL
    home.tar.gz      CURATION_HOME without database, registry, packaged weights and plug-ins
    weights.json     the weights that were left out, by path: SHA-256 of the packaged file
    expected.json    what release 0.1.0 reads from all of that, to compare with

The path of CURATION_HOME is replaced by `HOME_PLACEHOLDER` in the database, in the registry and in
text files below `datasets`. The artifacts of the registry are kept to the byte, since their hashes
are registered.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from functools import partial
from pathlib import Path

from bson import json_util
from PIL import Image
from pymongo import MongoClient

NAME = "compatibility"
HOME_PLACEHOLDER = "@CURATION_HOME@"
DATA = Path(__file__).parent / "data_0_1_0"

_DRIVES = {"train": 6, "val": 4, "test": 2}
_FRAMES = {"train": 3, "val": 3, "test": 2}  # kept of each drive
_SIZE = (320, 180)
_QUALITY = 70
_COMPRESSED_FROM = 20_000  # bytes of a collection
_LEFT_OUT = ("db", "plugins", "mlflow.db", "fiftyone", "user")  # of the home
_NO_DATA = ("__pycache__", "plots", "report.html", "verdict.html", "environment.txt")

# Trains with a learning rate of 0: the weights stay the packaged ones, which are left out. The
# challenger is another ensemble all the same, by its calibration and its probe.
_ROUND = """
from curation.stages import train
train.SMALL = train.Rates(known=0.0, new=0.0)
from curation.cli import main
main()
"""

_SCENES = """
import sys
from curation.demo import write_dataset
write_dataset(sys.argv[1], n_drives_by_split=%r, seed=1)
"""
_QUEUE = """
import curation as cu
dataset = cu.load("compatibility")
import fiftyone.operators as foo
for operator, params in (
    ("@curation/rank_samples/score_hardness", {"by": "tiny"}),
    ("@curation/embed_samples/embed_samples", {"manifest": "tiny"}),
):
    foo.execute_operator(operator, dataset=dataset, params=params, request_delegation=True)
"""


class Release:
    """The command `curate` of the importable package, with a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        foreign = ("FIFTYONE_", "CURATION_", "MLFLOW_")
        inherited = {name: v for name, v in os.environ.items() if not name.startswith(foreign)}
        self._environment = inherited | {
            "HOME": str(home / "user"),  # so that no database of the user is taken
            "CURATION_HOME": str(home),
            "FIFTYONE_PLUGINS_DIR": str(home / "plugins"),
            "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",  # below the home: the journal names it
            "LOGNAME": "release",  # who runs it, for MLflow
            "COLUMNS": "200",
        }

    def curate(self, *words: object) -> str:
        """Run a command to its end; return what it printed."""
        return self.python("from curation.cli import main; main()", *words)

    def python(self, script: str, *words: object) -> str:
        """Run a script to its end; return what it printed."""
        command = [sys.executable, "-c", script, *map(str, words)]
        return subprocess.run(
            command, cwd=self.home, env=self._environment, stdout=subprocess.PIPE, text=True,
            check=True,
        ).stdout  # fmt: skip


def main() -> None:
    """Make everything in a temporary home, and write it to `data_0_1_0`."""
    with tempfile.TemporaryDirectory(prefix="curation-0.1.0-") as folder:
        release = Release(Path(folder))
        (release.home / "user").mkdir()
        uri = re.search(r"mongodb://\S+", release.curate("db", "start"))
        assert uri is not None
        try:
            _use(release)
            shutil.rmtree(DATA, ignore_errors=True)
            DATA.mkdir()
            _write_database(uri[0], release.home)
        finally:
            release.curate("db", "stop")
        read = (Path(__file__).parent / "read_dataset.py").read_text()
        expected = json.loads(release.python(read, NAME))
        release.curate("db", "stop")
        _write_registry(release.home)
        _write_home(release.home)
        (DATA / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def _use(release: Release) -> None:
    """Use the release: a round, a promotion and a rollback, two jobs, a queue of two runs."""
    scenes = release.home / "datasets" / NAME / "scenes"
    with tempfile.TemporaryDirectory() as folder:
        release.python(_SCENES % _DRIVES, Path(folder) / "scenes")
        _shrink(Path(folder) / "scenes", scenes)
    job = ("--cron", "30 2 * * *", "--zone", "Europe/Berlin", "--budget", 3, "--labeler", "files")
    signed = ("--by", "Ada L.", "--why", "For the tests of compatibility")
    for step in (
        ("ingest", scenes, "--name", NAME, "--hold-back"),
        ("round", NAME, "--budget", 12, "--epochs", 1),
        ("promote", NAME, 2, *signed, "--against-the-gate"),
        ("rollback", NAME, *signed),
        ("jobs", "add", "nightly", NAME, *job),
        ("jobs", "run", "nightly"),
        ("jobs", "add", "drift", NAME, "--kind", "drift", "--every", "6h"),
        ("jobs", "pause", "drift"),
        ("jobs", "list"),
        ("jobs", "history"),
        ("history", NAME),
        ("plugins", "install"),
    ):
        run = release.curate if step[0] != "round" else partial(release.python, _ROUND)
        sys.stderr.write(f"$ curate {' '.join(map(str, step))}\n{run(*step)}\n")
    release.python(_QUEUE)


def _shrink(source: Path, target: Path) -> None:
    """Write a few small frames of each drive of a COCO data set, with their boxes."""
    content = json.loads((source / "annotations.json").read_text())
    (target / "images").mkdir(parents=True)
    images, seen = [], dict.fromkeys({image["drive"] for image in content["images"]}, 0)
    for image in content["images"]:
        seen[image["drive"]] += 1
        if seen[image["drive"]] > _FRAMES[image["split"]]:
            continue
        with Image.open(source / image["file_name"]) as opened:
            small = opened.resize(_SIZE, Image.Resampling.LANCZOS)
        small.save(target / image["file_name"], quality=_QUALITY)
        images.append(image | {"width": _SIZE[0], "height": _SIZE[1]})
    widths = {image["id"]: image["width"] for image in content["images"]}
    boxes = []
    for box in content["annotations"]:
        if box["image_id"] in {image["id"] for image in images}:
            scale = _SIZE[0] / widths[box["image_id"]]
            bbox = [round(scale * side, 2) for side in box["bbox"]]
            boxes.append(box | {"bbox": bbox, "area": round(bbox[2] * bbox[3], 2)})
    shrunk = content | {"images": images, "annotations": boxes}
    (target / "annotations.json").write_text(json.dumps(shrunk))


def _write_database(uri: str, home: Path) -> None:
    folder = DATA / "database"
    folder.mkdir()
    with MongoClient(uri) as client:
        database = client["fiftyone"]
        for name in sorted(database.list_collection_names()):
            lines = [
                json_util.dumps(document, json_options=json_util.CANONICAL_JSON_OPTIONS)
                for document in database[name].find().sort("_id", 1)
            ]
            text = "".join(f"{line}\n" for line in lines).replace(str(home), HOME_PLACEHOLDER)
            if len(text) < _COMPRESSED_FROM:
                (folder / f"{name}.jsonl").write_text(text)
            elif lines:
                _compress(folder / f"{name}.jsonl.gz", text.encode())


def _write_registry(home: Path) -> None:
    connection = sqlite3.connect(home / "mlflow.db")
    text = "\n".join(connection.iterdump()) + "\n"
    connection.close()
    _compress(DATA / "registry.sql.gz", text.replace(str(home), HOME_PLACEHOLDER).encode())


def _write_home(home: Path) -> None:
    """Pack the files of the home, but those that are packaged with the release as well."""
    import cascade

    packaged = {_sha256(path) for path in Path(cascade.__file__).parent.rglob("*.safetensors")}
    left_out = {}

    def chosen(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        path = Path(member.name)
        if path.parts[0] in _LEFT_OUT or path.name in _NO_DATA:
            return None
        if path.suffix == ".safetensors" and (digest := _sha256(home / path)) in packaged:
            left_out[path.as_posix()] = digest
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    for path in (home / "datasets").rglob("*"):
        if path.suffix in (".csv", ".json", ".txt") and str(home) in (text := path.read_text()):
            path.write_text(text.replace(str(home), HOME_PLACEHOLDER))
    with tarfile.open(DATA / "home.tar.gz", "w:gz", compresslevel=9) as tar:
        for path in sorted(home.iterdir()):
            tar.add(path, arcname=path.name, filter=chosen)
    (DATA / "weights.json").write_text(json.dumps(left_out, indent=1, sort_keys=True) + "\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _compress(path: Path, content: bytes) -> None:
    with path.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(content)


if __name__ == "__main__":
    main()
