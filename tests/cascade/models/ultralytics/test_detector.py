"""Ultralytics detectors, tiny and random, compared with ultralytics' own prediction."""

import json
import os
import subprocess
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import tiny_ultralytics as tiny
import torch

from cascade import registry
from cascade.checkpoints import sources
from cascade.errors import CheckpointError
from cascade.imaging import batches
from cascade.imaging.batches import Batch
from cascade.imaging.letterbox import linear_letterbox
from cascade.models.ultralytics import pickle_reader
from cascade.models.ultralytics.detector import to_folder
from cascade.models.ultralytics.network import side_effects_undone
from cascade.predictions import Detections
from cascade.protocols import Trainable, predict
from cascade.training.examples import Example, ExampleCache
from cascade.training.fit import fit

pytest.importorskip("ultralytics", reason="ultralytics is not installed")

SIZES = [(48, 80), (200, 120), (64, 64), (97, 31), (128, 128)]
SHARED = Path(os.environ.get("CURATION_SHARED", "/nowhere"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a `.pt` by family and scale, each written once."""
    folder, written = tmp_path_factory.mktemp("pt"), {}

    def of(family="26", scale="x"):
        if (family, scale) not in written:
            written[family, scale] = tiny.write_pt(folder, family=family, scale=scale)
        return written[family, scale]

    return of


def batch_of(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    made = tuple(rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes)
    return Batch(ids=tuple(str(i) for i in range(len(sizes))), images=made)


def build(path, **params):
    return registry.create("ultralytics", path, size=tiny.SIZE, **params)


def own_predictions(path, batch, **options):
    """Return what ultralytics' predict() finds: boxes, scores and class ids of each image."""
    with side_effects_undone():
        from ultralytics import YOLO

        results = YOLO(str(path)).predict(
            [image[..., ::-1].copy() for image in batch.images],
            imgsz=tiny.SIZE, conf=0.01, iou=0.6, max_det=100, rect=False, device="cpu",
            verbose=False, save=False, **options,
        )  # fmt: skip
    return [
        (boxes.xyxyn.numpy(), boxes.conf.numpy(), boxes.cls.numpy())
        for boxes in (result.boxes for result in results)
    ]


MODELS = [("26", "x", False), ("26", "x", True), ("26", "n", False), ("11", "x", False)]


@pytest.mark.parametrize(("family", "scale", "nms_free"), MODELS)
def test_predictions_match_ultralytics(files, family, scale, nms_free):
    """On images with exact scaling, which gives both equal pixels."""
    plain = batch_of((64, 64), (40, 64), (64, 33), (64, 25), (31, 64)).images
    doubled = tuple(image.repeat(2, 0).repeat(2, 1) for image in plain[1:])
    path, batch = files(family, scale), Batch(tuple("abcdefghi"), plain + doubled)
    predictions = predict(build(path, nms_free=nms_free), batch)
    expected = own_predictions(path, batch, nms=False if nms_free else None)
    for ours, (boxes, scores, class_ids) in zip(predictions, expected, strict=True):
        if not nms_free:  # ultralytics keeps boxes within the border, without area
            inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
            boxes, scores, class_ids = boxes[inside], scores[inside], class_ids[inside]
        assert len(ours) == len(scores) > 10
        assert ours.scores == pytest.approx(scores, abs=1e-5)
        assert ours.boxes_xyxy == pytest.approx(boxes, abs=1e-5)
        assert ours.class_ids.tolist() == class_ids.tolist()


@pytest.mark.parametrize("nms_free", [False, True])
def test_batch_size_does_not_change_predictions(files, nms_free):
    model, batch = build(files(), nms_free=nms_free), batch_of(*SIZES)
    for i, detections in enumerate(predict(model, batch)):
        (alone,) = predict(model, batch.part(i, i + 1))
        assert detections.boxes_xyxy == pytest.approx(alone.boxes_xyxy, abs=1e-4)
        assert detections.scores == pytest.approx(alone.scores, abs=1e-4)
    assert predict(model, batch_of()) == []


def expect_ultralytics_view(batch, side):
    with side_effects_undone():
        from ultralytics.data.augment import LetterBox
    views, _ = linear_letterbox(batch, side, "ultralytics")
    for view, image in zip(views, batch.images, strict=True):
        expected = LetterBox(side)(image=image)
        difference = np.abs(view.permute(1, 2, 0).numpy().astype(int) - expected)
        assert difference.max() <= 1


@pytest.mark.parametrize("side", [64, 96, 640])
def test_view_matches_ultralytics_letterbox(side):
    rng = np.random.default_rng(0)
    sizes = [*SIZES, (1, 300), (301, 2), (31, 33), (719, 1279)]
    made = tuple(rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes)
    expect_ultralytics_view(Batch(ids=tuple(map(str, sizes)), images=made), side)


@pytest.mark.skipif(not SHARED.is_dir(), reason="CURATION_SHARED is absent")
def test_view_of_photographs_matches_ultralytics_letterbox():
    paths = sorted((SHARED / "data" / "roadwork_clips" / "images").glob("*.jpg"))[::70]
    assert len(paths) == 4
    made = tuple(batches.read(path) for path in paths)
    expect_ultralytics_view(Batch(ids=tuple(map(str, paths)), images=made), 640)


def test_convolutions_are_fused_and_other_head_is_removed(files):
    full = tiny.network("26", "x")
    for nms_free in (False, True):
        module = build(files(), nms_free=nms_free).module
        assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in module.modules())
        assert module.is_fused()
        assert sum(p.numel() for p in module.parameters()) < 0.95 * sum(
            p.numel() for p in full.parameters()
        )


def test_folder_contains_same_model(files, tmp_path):
    to_folder(files(), tmp_path / "a")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "config.json",
        "weights.safetensors",
    }
    batch = batch_of(*SIZES)
    before, after = (predict(build(folder), batch) for folder in (files(), tmp_path / "a"))
    for detections, other in zip(before, after, strict=True):
        assert np.array_equal(detections.boxes_xyxy, other.boxes_xyxy)
        assert np.array_equal(detections.scores, other.scores)
        assert detections.classes == other.classes == tiny.CLASSES


def test_yolo11_has_no_nms_free_head(files):
    with pytest.raises(CheckpointError, match="has no NMS-free head"):
        build(files("11", "x"), nms_free=True)


def test_missing_checkpoint_and_invalid_size_are_refused(files, tmp_path):
    with pytest.raises(CheckpointError, match="needs a checkpoint"):
        registry.create("ultralytics")
    with pytest.raises(CheckpointError, match="multiple of 32, got 100"):
        registry.create("ultralytics", files(), size=100)
    with pytest.raises(CheckpointError, match="find a checkpoint at"):
        build(tmp_path / "absent")


# --- training ----------------------------------------------------------------------------------


def truth(n, classes, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, (n, 2))
    boxes = np.hstack([low, low + rng.uniform(0.1, 0.4, (n, 2))]).astype(np.float32)
    return Detections(boxes, np.ones(n, np.float32), rng.integers(0, len(classes), n), classes)


def same(predictions, expected, *, tolerance=2e-4):
    for ours, theirs in zip(predictions, expected, strict=True):
        assert len(ours) == len(theirs) > 10
        assert ours.labels == theirs.labels
        assert ours.scores == pytest.approx(theirs.scores, abs=tolerance)
        assert ours.boxes_xyxy == pytest.approx(theirs.boxes_xyxy, abs=10 * tolerance)


@pytest.mark.parametrize(("family", "scale", "nms_free"), MODELS)
def test_copy_with_equal_classes_is_equal_and_trainable(files, family, scale, nms_free):
    model, batch = build(files(family, scale), nms_free=nms_free), batch_of((64, 64), (48, 80))
    other = model.with_classes(tiny.CLASSES)
    assert isinstance(other, Trainable)
    parameters = [p for name, p in other.module.named_parameters() if "dfl" not in name]
    assert all(parameter.requires_grad for parameter in parameters)
    assert any(isinstance(layer, torch.nn.BatchNorm2d) for layer in other.module.modules())
    same(predict(other, batch), predict(model, batch))


@pytest.mark.parametrize(("family", "scale", "nms_free"), MODELS)
def test_saved_checkpoint_restores_model(files, tmp_path, family, scale, nms_free):
    model, batch = build(files(family, scale), nms_free=nms_free), batch_of((64, 64), (48, 80))
    other = model.with_classes(("board", "cone", "barrel"), meaning={"drum": "barrel"}.get)
    other.save(tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "config.json", "weights.safetensors",
    ]  # fmt: skip
    again = build(tmp_path / "a", nms_free=nms_free)
    assert again.classes == ("board", "cone", "barrel")
    same(predict(again, batch), predict(other, batch))
    again.save(tmp_path / "b")
    assert sources.fingerprint(tmp_path / "a") == sources.fingerprint(tmp_path / "b")


def test_reordered_classes_keep_predictions(files):
    model, batch = build(files()), batch_of((64, 64))
    other = model.with_classes(("SIGN", "cone", "drum"))
    with torch.inference_mode():
        before, after = (m.forward(m.prepare(batch))[:, 4:] for m in (model, other))
    assert torch.allclose(after, before[:, [2, 0, 1]], atol=1e-4)


@pytest.mark.parametrize("counts", [(3, 1), (0, 2), (0, 0)])
@pytest.mark.parametrize(("family", "heads"), [("26", ["cv3", "one2one_cv3"]), ("11", ["cv3"])])
def test_loss_is_finite_and_has_gradients(files, family, heads, counts):
    model = build(files(family, "x")).with_classes(("cone", "horse"))
    predict(model, batch_of((64, 64)))  # inference must not leave state that blocks training
    model.module.train()
    tensors = model.prepare(batch_of((64, 64), (48, 80)))
    loss = model.loss(tensors, [truth(n, model.classes) for n in counts])
    loss.backward()
    assert loss.ndim == 0
    assert torch.isfinite(loss)
    head = f"model.{len(model.module.model) - 1}."
    branches = {
        name.split(".")[2]
        for name, parameter in model.module.named_parameters()
        if name.startswith(head) and parameter.grad is not None and parameter.grad.any()
    }
    assert {name for name in branches if name.endswith("cv3")} == set(heads)


def test_training_view_matches_prediction_and_boxes_are_in_letterbox(files):
    """A box that fills a wide image fills the middle of its square."""
    model = build(files()).with_classes(tiny.CLASSES)
    box = Detections(np.array([[0, 0, 1, 1]], np.float32), np.ones(1, np.float32),
                     np.zeros(1, np.int64), tiny.CLASSES)  # fmt: skip
    image = batch_of((40, 80)).images[0]
    shelf = ExampleCache(model, [Example(image, box)], seed=0, device=torch.device("cpu"))
    tensors, (target,) = shelf.batch([(0, 0)])
    expected = model.prepare(Batch(("",), (image,)))
    assert torch.equal(tensors["view"], expected["view"])
    assert target.boxes_xyxy[0] == pytest.approx([0, 0.25, 1, 0.75])


def test_training_reduces_loss(files, tmp_path):
    classes, examples = ("cone", "horse"), []
    rng = np.random.default_rng(0)
    for i in range(4):
        image = np.full((48, 64, 3), 90, np.uint8)
        x, y = rng.integers(4, 20, 2)
        image[y : y + 24, x : x + 24, i % 2] = 250
        corners = np.array([[x / 64, y / 48, (x + 24) / 64, (y + 24) / 48]], np.float32)
        target = Detections(corners, np.ones(1, np.float32), np.array([i % 2]), classes)
        examples.append(Example(image, target))
    result = fit(build(files("26", "n")).with_classes(classes), examples, examples,
                 out=tmp_path / "a", epochs=8, batch_size=4, learning_rate=3e-4)  # fmt: skip
    assert result.train_loss[-1] < result.train_loss[0]
    assert len(result.val_map50) == result.epochs
    assert build(tmp_path / "a").classes == classes


# --- untrusted pickles -------------------------------------------------------------------------


class Malice:
    """Object that executes its command when unpickled."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def pt_with(path, stowaway):
    """Write a `.pt` with a hidden malicious object."""
    with side_effects_undone():
        torch.save({"model": tiny.network("26", "n"), "note": stowaway}, path)
    return path


@pytest.mark.parametrize(
    ("call", "name"),
    [
        pytest.param(os.system, "posix.system", id="a shell"),
        pytest.param(eval, "eval", id="Python"),
        pytest.param(subprocess.check_output, "check_output", id="a process"),
        pytest.param(exec, "exec", id="more Python"),
    ],
)
def test_malicious_pickle_is_refused_without_execution(tmp_path, call, name):
    trap = tmp_path / "trap"
    word = f"touch {trap}" if call is os.system else f"open({str(trap)!r}, 'w')"
    path = pt_with(tmp_path / "a.pt", Malice(call, word))
    with pytest.raises(CheckpointError, match=rf"is refused: it names (\S+\.)?{name}\b"):
        build(path)
    assert not trap.exists()


def test_constructors_of_layers_do_not_run(tmp_path):
    """ultralytics evaluates the activation of a YAML that its model is constructed from."""
    with side_effects_undone():
        from ultralytics.nn.tasks import DetectionModel
    trap = tmp_path / "trap"
    yaml = tiny.network("26", "n").yaml | {"activation": f"open({str(trap)!r}, 'w')"}
    path = pt_with(tmp_path / "a.pt", Malice(DetectionModel, yaml, 3, 3, False))
    with pytest.raises(CheckpointError, match="is not an Ultralytics checkpoint: TypeError"):
        build(path)
    assert not trap.exists()


def test_safe_globals_of_process_are_ignored(tmp_path):
    with side_effects_undone():
        from ultralytics.nn.tasks import DetectionModel
    trap = tmp_path / "trap"
    yaml = tiny.network("26", "n").yaml | {"activation": f"open({str(trap)!r}, 'w')"}
    path = pt_with(tmp_path / "a.pt", Malice(DetectionModel, yaml, 3, 3, False))
    with torch.serialization.safe_globals([DetectionModel]):
        before = set(torch.serialization.get_safe_globals())
        with pytest.raises(CheckpointError):
            pickle_reader.read(path)
        assert set(torch.serialization.get_safe_globals()) == before
    assert not trap.exists()


def with_yaml(path, **changes):
    model = tiny.network("26", "n")
    model.yaml |= changes
    with side_effects_undone():
        torch.save({"model": model}, path)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"activation": "__import__('os')"}, "have to be evaluated", id="evaluated"),
        pytest.param({"head": [[-1, 1, "torch_load", []]]}, "is not a layer of", id="looked up"),
        pytest.param({"head": [[-1, 1, "Conv", ["d"]]]}, "plain numbers", id="a local variable"),
        pytest.param({"head": [[-1, 1, "Conv", [64]]]}, "last layer must be Detect", id="no head"),
        pytest.param({"scales": {"n": [1]}}, "cannot build the YAML", id="half a scale"),
        pytest.param({"scales": {"n": [0.33, 0.25, 256]}}, "must have shape", id="other widths"),
    ],
)
def test_yaml_of_unknown_network_is_refused(tmp_path, changes, message):
    with pytest.raises(CheckpointError, match=message):
        build(with_yaml(tmp_path / "a.pt", **changes))


def test_yaml_of_folder_is_checked(files, tmp_path):
    to_folder(files("26", "n"), tmp_path / "a")
    path = tmp_path / "a" / "config.json"
    config = json.loads(path.read_text())
    config["architecture"]["head"][0][2] = "torch_load"
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="is not a layer of"):
        build(tmp_path / "a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            {"model": OrderedDict()}, "must contain an .*DetectionModel", id="a state dict"
        ),
        pytest.param({}, "KeyError", id="nothing"),
        pytest.param(torch.nn.Conv2d(1, 1, 1), "not an Ultralytics checkpoint", id="a layer"),
    ],
)
def test_file_without_detector_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message):
        build(tmp_path / "a.pt")


def test_damaged_file_is_refused(files, tmp_path):
    (tmp_path / "a.pt").write_bytes(files().read_bytes()[:5000])
    (tmp_path / "b.pt").write_bytes(b"no zip at all")
    for name in ("a.pt", "b.pt"):
        with pytest.raises(CheckpointError, match="not an Ultralytics checkpoint"):
            build(tmp_path / name)
