"""Small real detectors on real photographs: proof of correct decoding.

The published figures of these files on the 128 photographs were measured on views that OpenCV
had stretched without antialiasing. DEIMv2 was trained on Pillow's antialiased views, as ours are,
and there finds a little less (femto) or more (atto).
"""

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cascade import registry
from cascade.geometry import boxes
from cascade.imaging import batches as images
from cascade.imaging.batches import Batch
from cascade.metrics.average_precision import average_precision
from cascade.models.exported import coco_classes
from cascade.predictions import Detections
from cascade.protocols import predict

SHARED = Path(os.environ.get("CURATION_SHARED", "/nowhere"))
pytestmark = pytest.mark.skipif(
    not (SHARED / "weights").is_dir(), reason="CURATION_SHARED with real weights is absent"
)
BATCH = 8
MODELS = {
    "deimv2_femto": ("onnx_detection", "deimv2_femto_coco.onnx", {"layout": "deimv2"}),
    "deimv2_atto": ("onnx_detection", "deimv2_atto_coco.onnx", {"layout": "deimv2"}),
    "yolox_nano": ("onnx_detection", "yolox_nano_coco.onnx", {"layout": "yolox"}),
    "yolov8n_int8": ("litert_detection", "yolov8n_int8.tflite", {"layout": "yolo"}),
}
PUBLISHED = {"deimv2_femto": 40.0, "deimv2_atto": 30.0, "yolox_nano": 33.6, "yolov8n_int8": 41.1}


@cache
def loaded(name, **params):
    adapter, file, options = MODELS[name]
    return registry.create(adapter, SHARED / "weights" / file, threads=1, **options, **params)


def detector(name, **params):
    """Return the model; skip where the package that runs its file is not installed."""
    lack = registry.get(MODELS[name][0]).missing_error
    if lack:
        pytest.skip(str(lack))
    return loaded(name, **params)


@cache
def photographs(folder, pattern="*.jpg"):
    paths = sorted((SHARED / "data" / folder).glob(pattern))
    assert paths
    return [(path, images.read(path)) for path in paths]


def batches(pairs):
    for start in range(0, len(pairs), BATCH):
        part = pairs[start : start + BATCH]
        yield Batch(tuple(path.stem for path, _ in part), tuple(image for _, image in part))


def truth(path, names, wanted=None):
    """Read the YOLO rows beside a photograph."""
    labels = Path(str(path.with_suffix(".txt")).replace("/images", "/labels"))
    rows = np.array(labels.read_text().split(), np.float64).reshape(-1, 5)
    if wanted is not None:
        rows = rows[np.isin(rows[:, 0], wanted)]
    corners = np.hstack([rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 1:3] + rows[:, 3:] / 2])
    return Detections(
        corners.clip(0, 1).astype(np.float32),
        np.ones(len(rows), np.float32),
        rows[:, 0].astype(np.int64),
        names,
    )


def coco_ap(model):
    """Return the average precision on the 128 photographs, in points."""
    pairs = photographs("coco128_val/images")
    predictions = [detections for batch in batches(pairs) for detections in predict(model, batch)]
    truths = [truth(path, coco_classes.NAMES) for path, _ in pairs]
    return 100 * average_precision(predictions, truths, coco_classes.NAMES).map


@pytest.mark.parametrize("name", MODELS)
def test_average_precision_matches_publication(name):
    """On the views of the publication; the YOLO families have no others."""
    views = {"resize": "opencv"} if MODELS[name][0] == "onnx_detection" else {}
    assert coco_ap(detector(name, **views)) == pytest.approx(PUBLISHED[name], abs=1)


@pytest.mark.parametrize(("name", "ours"), [("deimv2_femto", 39.5), ("deimv2_atto", 31.3)])
def test_antialiased_views_keep_average_precision(name, ours):
    ap = coco_ap(detector(name))
    assert ap == pytest.approx(ours, abs=0.2)
    assert ap >= PUBLISHED[name] - 1


def test_people_and_vehicles_are_detected_in_dash_cam_images():
    """On every fourth frame of the clips: nearly all have vehicles, many have people."""
    frames = photographs("roadwork_clips/images")[::4]
    model = detector("deimv2_femto")
    predictions = [detections for batch in batches(frames) for detections in predict(model, batch)]
    labels = [set(detections[detections.scores >= 0.4].labels) for detections in predictions]
    vehicles = sum(bool(names & {"car", "truck", "bus"}) for names in labels)
    people = sum("person" in names for names in labels)
    assert vehicles >= 0.8 * len(frames)
    assert people >= 0.2 * len(frames)


def test_people_on_construction_sites_match_annotations():
    """At score 0.3 and IoU 0.5, without mosaics: recall 65 % of 338 people, precision 71 %."""
    pairs = photographs("construction_site_safety/images/valid")
    pairs = pairs + photographs("construction_site_safety/images/test")
    model, person = detector("deimv2_femto"), coco_classes.NAMES.index("person")
    hits = claims = people = 0
    predicted = [detections for batch in batches(pairs) for detections in predict(model, batch)]
    for (path, _), detections in zip(pairs, predicted, strict=True):
        detections = detections[(detections.class_ids == person) & (detections.scores >= 0.3)]
        real = truth(path, coco_classes.NAMES, wanted=[5]).boxes_xyxy
        hits += (boxes.match(boxes.iou(detections.boxes_xyxy, real), least=0.5) >= 0).sum()
        claims, people = claims + len(detections), people + len(real)
    assert people == 338
    assert hits / people == pytest.approx(0.65, abs=0.02)
    assert hits / claims == pytest.approx(0.71, abs=0.02)
