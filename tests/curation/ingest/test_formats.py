"""Which format a folder is in."""

import json

import pytest
from PIL import Image

from curation.errors import IngestError
from curation.ingest import formats as sources
from curation.ingest.records import Options

COCO = json.dumps({"images": [], "categories": [], "annotations": []})


def put(root, **files):
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            Image.new("RGB", (2, 2)).save(path)
        else:
            path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("files", "formats"),
    [
        pytest.param({"a_dot_jpg": None}, ("folder",), id="images only"),
        pytest.param({"a_dot_mp4": ""}, ("video",), id="videos only"),
        pytest.param({"x__a_dot_jpg": None, "y__a_dot_mp4": ""}, ("folder", "video"), id="both"),
        pytest.param({"images__a_dot_jpg": None, "labels__a_dot_txt": ""}, ("yolo",), id="YOLO"),
        pytest.param({"a_dot_jpg": None, "data_dot_yaml": "names: [a]"}, ("yolo",), id="names"),
        pytest.param({"a_dot_jpg": None, "a_dot_json": COCO}, ("coco",), id="COCO"),
        pytest.param({"a_dot_jpg": None, "package_dot_json": "{}"}, ("folder",), id="other JSON"),
        pytest.param({"a_dot_jpg": None, "a_dot_xml": "<annotation/>"}, ("voc",), id="VOC"),
        pytest.param({"a_dot_jpg": None, "a_dot_xml": "<svg/>"}, ("folder",), id="other XML"),
    ],
)
def test_the_format_is_recognised(tmp_path, files, formats):
    found = sources.recognise(put(tmp_path, **files), Options(names=None, frames=tmp_path))
    assert found == formats


def test_names_that_are_given_mean_yolo(tmp_path):
    put(tmp_path, a_dot_jpg=None)
    assert sources.recognise(tmp_path, Options(names=("a",), frames=tmp_path)) == ("yolo",)


def test_hidden_files_are_no_images(tmp_path):
    put(tmp_path, a_dot_jpg=None)
    (tmp_path / "._a.jpg").write_bytes(b"a fork of macOS")
    reading, _ = sources.read(tmp_path, "auto", Options(names=None, frames=tmp_path))
    assert [one.path.name for one in reading.records] == ["a.jpg"]


@pytest.mark.parametrize(
    ("name", "source_format", "message"),
    [
        pytest.param("", "auto", "holds no images. Expected files that end in .bmp", id="empty"),
        pytest.param("gone", "auto", "There is nothing at", id="absent"),
        pytest.param("", "kitti", "must be auto, folder, yolo, coco, voc, video, got", id="format"),
    ],
)
def test_a_source_without_images_says_what_is_expected(tmp_path, name, source_format, message):
    with pytest.raises(IngestError) as caught:
        sources.read(tmp_path / name, source_format, Options(names=None, frames=tmp_path))
    assert message in str(caught.value)
