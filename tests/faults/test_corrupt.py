"""Damaged files among valid ones: each is reported, and the other samples are complete."""

import io
import json

import gridfs
import numpy as np
import pytest
from PIL import Image

from curation.storage.database import mongod

pytestmark = pytest.mark.slow

N_VALID, SIZE = 194, (128, 96)
KINDS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP"}
EXPECTED = {  # recorded message of each damaged file
    "truncated.jpg": "is damaged: image file is truncated",
    "text.jpg": "is not an image in a known format",
    "chunk.png": "is damaged: ",
    "half.webp": "is damaged: ",
    "middle.jpg": "is damaged: premature end of data segment",
    "empty.jpg": "has zero bytes",
}


def picture(seed, kind):
    """Return the bytes of a small picture: bright boxes on a textured street."""
    random = np.random.default_rng(seed)
    pixels = random.integers(60, 110, (SIZE[1], SIZE[0], 3), np.uint8)
    for _ in range(6):
        x, y, side = random.integers(0, 80, 3)
        pixels[y : y + 8 + side // 4, x : x + 8 + side // 6] = random.integers(0, 255, 3)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def damaged():
    jpeg, png, webp = (picture(1000, kind) for kind in ("JPEG", "PNG", "WEBP"))
    middle, data = len(jpeg) // 2, png.index(b"IDAT") + 200
    return {
        "truncated.jpg": jpeg[: len(jpeg) * 6 // 10],
        "text.jpg": b"This is no image.\n" * 40,
        "chunk.png": png[:data] + b"broken" + png[data + 6 :],
        "half.webp": webp[: len(webp) // 2],
        "middle.jpg": jpeg[:middle] + jpeg[middle + 800 :],
        "empty.jpg": b"",
    }


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 200 files, including 6 damaged images."""
    folder = tmp_path_factory.mktemp("source") / "photos"
    folder.mkdir()
    for i in range(N_VALID):
        suffix = list(KINDS)[i % len(KINDS)]
        (folder / f"{i:03d}{suffix}").write_bytes(picture(i, KINDS[suffix]))
    for name, data in damaged().items():
        (folder / name).write_bytes(data)
    assert len(list(folder.iterdir())) == 200
    return folder


@pytest.fixture(scope="module")
def outcome(new_home, photos, manifest, tmp_path_factory):
    """Output of each command, samples, ingest failures, similarity index and report page."""
    with new_home(tmp_path_factory.mktemp("home") / "user") as home:
        outputs = {
            verb: home.curate(verb, *words)
            for verb, words in {
                "ingest": (photos,),
                "predict": ("photos", "--manifest", manifest),
                "embed": ("photos", "--manifest", manifest),
                "score": ("photos", "--manifest", manifest),
                "choose": ("photos", "--budget", 20),
                "report": ("photos",),
            }.items()
        }
        port = mongod.recorded_port(home.settings.database_folder)
        with mongod.open_client(mongod.local_uri(port)) as client:
            dataset = client.fiftyone.datasets.find_one({"name": "photos"})
            rows = list(client.fiftyone[dataset["sample_collection_name"]].find())
            run = client.fiftyone.runs.find_one({"_id": dataset["brain_methods"]["similarity"]})
            index = json.loads(gridfs.GridFS(client.fiftyone).get(run["results"]).read())
        pages = list(home.folder.glob("datasets/photos/rounds/*/report.html"))
        yield outputs, rows, dataset["info"]["ingest"], index, pages[0].read_text()


def test_damaged_files_are_recorded_with_reasons(outcome, photos):
    _, _, record, *_ = outcome
    assert {failure["filepath"] for failure in record} == {str(photos / name) for name in EXPECTED}
    assert len(record) == len(EXPECTED)
    for failure in record:
        assert failure["error"] == "ImageError"
        assert failure["message"].startswith(EXPECTED[failure["filepath"].rpartition("/")[2]])


def test_ingest_and_report_list_each_failure(outcome):
    outputs, _, record, _, page = outcome
    assert "6 failures on 6 images" in page
    for failure in record:
        assert failure["filepath"] in outputs["ingest"].out
        assert failure["filepath"].rpartition("/")[2] in page


def test_other_samples_are_complete(outcome):
    _, rows, _, index, _ = outcome
    assert len(rows) == N_VALID
    for row in rows:
        assert all(row[name]["fingerprint"] for name in ("plain", "confused", "consensus"))
        assert 0 <= row["hardness"] <= 1
        assert row["content_hash"]
        assert not row.get("failures")
    assert sorted(index["sample_ids"]) == sorted(str(row["_id"]) for row in rows)
    assert len(index["embeddings"]) == N_VALID


def test_budget_is_chosen(outcome):
    _, rows, *_ = outcome
    assert sorted(row["rank"] for row in rows if "round-01" in row["tags"]) == list(range(1, 21))


def test_libraries_print_nothing(outcome):
    """No library writes to the terminal."""
    outputs, *_ = outcome
    assert {verb: output.err for verb, output in outputs.items() if output.err} == {}
    assert "Generating visualization" not in outputs["embed"].out
