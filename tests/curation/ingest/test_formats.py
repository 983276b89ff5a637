"""Detection of a source's format."""

import json

import pytest
from PIL import Image

from curation.errors import IngestError
from curation.ingest import formats
from curation.ingest.records import ReaderOptions

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
    ("files", "expected"),
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
def test_format_is_detected(tmp_path, files, expected):
    options = ReaderOptions(names=None, frames=tmp_path)
    assert formats.detect_formats(put(tmp_path, **files), options) == expected


def test_given_class_names_mean_yolo(tmp_path):
    put(tmp_path, a_dot_jpg=None)
    assert formats.detect_formats(tmp_path, ReaderOptions(names=("a",), frames=tmp_path)) == (
        "yolo",
    )


def test_hidden_files_are_not_images(tmp_path):
    put(tmp_path, a_dot_jpg=None)
    (tmp_path / "._a.jpg").write_bytes(b"a fork of macOS")
    result, _ = formats.read(tmp_path, "auto", ReaderOptions(names=None, frames=tmp_path))
    assert [record.path.name for record in result.records] == ["a.jpg"]


@pytest.mark.parametrize(
    ("name", "source_format", "message"),
    [
        pytest.param("", "auto", "contains no images. Expected files that end in .bmp", id="empty"),
        pytest.param("gone", "auto", "does not exist", id="absent"),
        pytest.param("", "kitti", "must be auto, folder, yolo, coco, voc, video, got", id="format"),
    ],
)
def test_source_without_images_says_what_is_expected(tmp_path, name, source_format, message):
    with pytest.raises(IngestError) as caught:
        formats.read(tmp_path / name, source_format, ReaderOptions(names=None, frames=tmp_path))
    assert message in str(caught.value)
