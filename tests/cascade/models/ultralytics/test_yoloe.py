"""YOLOE and YOLO-World: predictions match ultralytics, from a folder without a pickle."""

import json
import os
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cascade import registry, taxonomy
from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.models.huggingface.prompts import prompts_of
from cascade.protocols import predict

pytestmark = pytest.mark.skipif(
    find_spec("ultralytics") is None, reason="ultralytics is not installed"
)
if find_spec("ultralytics"):
    import tiny_yoloe

    from cascade.models.ultralytics import yoloe

NETWORKS = {
    "yoloe-26-seg": ("26/yoloe-26-seg.yaml", "YOLOESegModel"),
    "yoloe-26": ("26/yoloe-26.yaml", "YOLOEModel"),
    "yoloe-11-seg": ("11/yoloe-11-seg.yaml", "YOLOESegModel"),
    "yolo-worldv2": ("v8/yolov8-worldv2.yaml", "WorldModel"),
    "yolo-world": ("v8/yolov8-world.yaml", "WorldModel"),
}


def asked_for(*prompts):
    return taxonomy.from_labels("made", prompts, prompts)


def batch_of(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    images = tuple(rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes)
    return Batch(ids=tuple(str(i) for i in range(len(sizes))), images=images)


@pytest.fixture(scope="module", params=["yoloe", "yolo_world"])
def folder(request, tmp_path_factory):
    return tiny_yoloe.CASES[request.param].write(tmp_path_factory.mktemp(request.param) / "a")


def load(folder, vocabulary=None):
    return registry.create("yoloe", folder, taxonomy=vocabulary or taxonomy.load("roadwork"))


def export(network, folder, **options):
    pt = tiny_yoloe.write_pt(network, folder.with_suffix(".pt"))
    yoloe.export(pt, folder, **options)
    pt.unlink()


def close(detections, other, atol=1e-5):
    return (
        np.array_equal(detections.class_ids, other.class_ids)
        and np.allclose(detections.scores, other.scores, atol=atol)
        and np.allclose(detections.boxes_xyxy, other.boxes_xyxy, atol=atol)
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_cells_match_ultralytics(name, tmp_path):
    """The trimmed network with two of three prompts, compared with the full network."""
    network, rows = tiny_yoloe.network(*NETWORKS[name]), tiny_yoloe.embeddings(3)
    export(network, tmp_path / "a", prompts=["cone", "drum", "sign"], embeddings=rows)
    model = load(tmp_path / "a", asked_for("sign", "cone"))
    view = torch.randint(0, 256, (2, 3, 96, 128), generator=torch.manual_seed(0)).double() / 255
    embeddings = rows[[2, 0]][None]
    network.model[-1].nc = 2
    if name.startswith("yoloe"):
        network.set_classes(["sign", "cone"], embeddings)
        network.model[-1].end2end = False
    else:
        network.txt_feats = embeddings
    with torch.inference_mode():
        ours, theirs = model.module.double()(view)[0], network.double()(view)[0]
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs  # with masks
    centers, sides = theirs[:, :2], theirs[:, 2:4]
    corners = torch.cat([centers - sides / 2, centers + sides / 2], dim=1)
    assert ours.shape == (2, 6, 12 * 16 + 6 * 8 + 3 * 4)
    assert torch.allclose(ours[:, :4], corners, atol=1e-6)
    assert torch.allclose(ours[:, 4:], theirs[:, 4:6], atol=1e-9)
    assert ours[:, 4:].std() > 0.01


def test_predictions_match_ultralytics(tmp_path):
    """Entire pipeline: letterbox, network, suppression."""
    from ultralytics import YOLOE

    network, prompts = tiny_yoloe.network(*NETWORKS["yoloe-26"]), ["cone", "drum", "sign"]
    rows = tiny_yoloe.embeddings(3)
    export(network, tmp_path / "a", prompts=prompts, embeddings=rows, size=96)
    model, batch = load(tmp_path / "a", asked_for(*prompts)), batch_of((100, 180), (150, 90))
    official = YOLOE("yoloe-26n.yaml")
    official.model = network
    network.args, network.task = official.overrides, "detect"
    official.set_classes(prompts, rows[None])
    for image, ours in zip(batch.images, predict(model, batch), strict=True):
        (theirs,) = official.predict(
            image[..., ::-1], imgsz=96, conf=0.01, iou=0.6, rect=False, max_det=100,
            device="cpu", verbose=False, save=False,
        )  # fmt: skip
        rows = theirs.boxes.xyxyn.numpy()
        inside = (rows[:, 2:] > rows[:, :2]).all(
            axis=1
        )  # ultralytics keeps boxes within the border
        rows, classes = rows[inside], theirs.boxes.cls.numpy()[inside]
        apart = np.abs(rows[:, None] - ours.boxes_xyxy).max(axis=2)
        apart[classes[:, None] != ours.class_ids] = np.inf
        assert len(rows) > 30
        assert (apart.min(axis=1) < 5e-3).mean() > 0.95
        assert np.allclose(ours.scores[:20], theirs.boxes.conf.numpy()[inside][:20], atol=1e-3)


def test_classes_are_prompts(folder):
    model = load(folder)
    assert model.classes == prompts_of(taxonomy.load("roadwork"))
    for detections in predict(model, batch_of((90, 160), (64, 64))):
        assert detections.classes == model.classes
        assert len(detections) > 20
        assert len(set(detections.labels)) > 3


def test_batch_size_does_not_change_predictions(folder):
    model, batch = load(folder), batch_of((90, 160), (120, 60), (64, 64), (90, 160))
    for i, together in enumerate(predict(model, batch)):
        (alone,) = predict(model, batch.part(i, i + 1))
        assert close(together, alone)
        assert len(alone) > 20


def test_empty_batch_has_no_predictions(folder):
    assert predict(load(folder), Batch(ids=(), images=())) == []


def test_prompts_move_with_network(folder):
    model = load(folder)
    lengths = {buffer.shape[-2] for buffer in model.module.buffers() if buffer.ndim == 3}
    assert len(model.classes) in lengths
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


def test_unknown_prompt_is_refused(folder):
    with pytest.raises(CheckpointError, match=r"no embedding of 'zebra' \(1 of 2 prompts"):
        load(folder, asked_for("zebra", taxonomy_prompt()))


def taxonomy_prompt():
    return prompts_of(taxonomy.load("roadwork"))[0]


def test_additional_prompt_is_additional_row(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    rows = load_file(folder / yoloe.PROMPTS)
    save_file(rows | {"zebra": rows[taxonomy_prompt()].clone()}, tmp_path / yoloe.PROMPTS)
    batch = batch_of((90, 160))
    (zebras,) = predict(load(tmp_path, asked_for("zebra")), batch)
    (same,) = predict(load(tmp_path, asked_for(taxonomy_prompt())), batch)
    assert zebras.classes == ("zebra",)
    assert close(zebras, same)
    assert len(zebras)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"activation": "__import__('os')"}, "may have the keys", id="evaluated"),
        pytest.param({"head": [[-1, 1, "torch_load", []]]}, "is not a layer of", id="looked up"),
        pytest.param({"head": [[-1, 1, "Conv", ["d"]]]}, "plain numbers only", id="argument"),
        pytest.param({"head": 3}, "must be lists of layers", id="no layers"),
    ],
)
def test_checkpoint_cannot_run_code(folder, tmp_path, change, message):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["architecture"] |= change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda f: (f / "config.json").unlink(), "Cannot find a checkpoint", id="config"
        ),
        pytest.param(lambda f: (f / yoloe.PROMPTS).unlink(), "prompts' embeddings", id="prompts"),
        pytest.param(
            lambda f: (f / yoloe.PROMPTS).write_bytes(b"PK"), "is damaged", id="a damaged file"
        ),
    ],
)
def test_incomplete_folder_is_refused(folder, tmp_path, change, message):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    change(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path)


def test_missing_checkpoint_is_refused():
    with pytest.raises(CheckpointError, match="a folder that `cascade"):
        load(None)


@pytest.mark.parametrize(
    ("name", "tower"), [("yoloe-26", "mobileclip2:b"), ("yoloe-11-seg", "mobileclip:blt")]
)
def test_missing_embeddings_are_computed_by_text_tower(tmp_path, monkeypatch, name, tower):
    """The tower is a fake; the adapter of its output is the file's."""
    texts, rows = [], tiny_yoloe.embeddings(2)

    class Tower:
        def tokenize(self, prompts):
            texts.extend(prompts)
            return torch.arange(len(prompts))

        def encode_text(self, tokens):
            return rows[tokens]

    def build_text_model(named, device):
        texts.append(named)
        return Tower()

    towers = SimpleNamespace(build_text_model=build_text_model)
    monkeypatch.setitem(sys.modules, "ultralytics.nn.text_model", towers)
    network = tiny_yoloe.network(*NETWORKS[name])
    for parameter in network.model[-1].reprta.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # initially, it changes nothing
    export(network, tmp_path / "a", prompts=["drum", "cone"])
    written = load_file(tmp_path / "a" / yoloe.PROMPTS)
    assert texts == [tower, "drum", "cone"]
    with torch.no_grad():
        expected = network.model[-1].get_tpe(rows[None])[0]
    assert not torch.allclose(expected, rows, atol=1e-2)
    assert torch.allclose(written["drum"], expected[0], atol=1e-6)
    assert torch.allclose(written["cone"], expected[1], atol=1e-6)


def test_missing_text_tower_is_named_in_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ultralytics.nn.text_model", None)
    network = tiny_yoloe.network(*NETWORKS["yoloe-26"])
    with pytest.raises(CheckpointError, match=r"Install its package, .* or pass `embeddings`"):
        export(network, tmp_path / "a", prompts=["cone"])


def test_unsupported_export_is_refused(tmp_path):
    rows, network = tiny_yoloe.embeddings(1), NETWORKS["yoloe-26"]
    folder = tmp_path / "a"
    with pytest.raises(
        CheckpointError, match="must contain an Ultralytics WorldModel or YOLOEModel or YOLOESeg"
    ):
        export(torch.nn.Linear(1, 1), folder, prompts=["a"], embeddings=rows)
    with pytest.raises(CheckpointError, match=r"must have shape \(2, D\), got \(1, 512\)"):
        export(tiny_yoloe.network(*network), folder, prompts=["a", "b"], embeddings=rows)
    fused = tiny_yoloe.network(*network).fuse(verbose=False)
    with pytest.raises(CheckpointError, match=r"is refused: it names builtins\.getattr"):
        export(fused, folder, prompts=["a"], embeddings=rows)
    partly = tiny_yoloe.network(*network)
    partly.model[0].bn = torch.nn.Identity()
    with pytest.raises(CheckpointError, match=r"is it fused.*model\.0\.bn\.bias' is missing"):
        export(partly, folder, prompts=["a"], embeddings=rows)
    assert not folder.exists()


class Malice:
    """Object that executes its command when unpickled."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("name", ["yoloe-26-seg", "yolo-worldv2"])
def test_malicious_pickle_is_refused_without_execution(tmp_path, name):
    network, trap = tiny_yoloe.network(*NETWORKS[name]), tmp_path / "trap"
    network.model[-1].note = Malice(os.system, f"touch {trap}")  # where a layer's state is set
    with pytest.raises(CheckpointError, match=r"is refused: it names posix\.system"):
        export(network, tmp_path / "a", prompts=["a"], embeddings=tiny_yoloe.embeddings(1))
    assert not trap.exists()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("family", ["YOLOEModel", "YOLOESegModel", "WorldModel"])
def test_constructors_of_models_do_not_run(tmp_path, family):
    """ultralytics evaluates the activation of a YAML that its model is constructed from."""
    from ultralytics.nn import tasks

    trap = tmp_path / "trap"
    network = tiny_yoloe.network(*NETWORKS["yoloe-26"])
    yaml = network.yaml | {"activation": f"open({str(trap)!r}, 'w')"}
    network.model[-1].note = Malice(getattr(tasks, family), yaml, 3, 3, False)
    with pytest.raises(CheckpointError, match="is not an Ultralytics checkpoint: TypeError"):
        export(network, tmp_path / "a", prompts=["a"], embeddings=tiny_yoloe.embeddings(1))
    assert not trap.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"activation": "__import__('os')"}, "have to be evaluated", id="evaluated"),
        pytest.param({"text_model": "clip:../x.pt"}, "`text_model` must be", id="another tower"),
        pytest.param({"head": [[-1, 1, "torch_load", []]]}, "is not a layer of", id="looked up"),
        pytest.param({"head": [[-1, 1, {}, []]]}, "is not a layer of", id="no name"),
        pytest.param({"head": [[-1, 1, "Conv", [{}]]]}, "plain numbers only", id="an argument"),
        pytest.param(
            {"head": [[-1, 1, "YOLOESegment", []]]}, "cannot build the YAML's network", id="no head"
        ),
        pytest.param({"backbone": 3}, "must be lists of layers", id="no layers"),
    ],
)
def test_yaml_of_file_is_checked(tmp_path, change, message):
    network = tiny_yoloe.network(*NETWORKS["yoloe-26"])
    network.yaml |= change
    with pytest.raises(CheckpointError, match=message):
        export(network, tmp_path / "a", prompts=["a"])
    assert not (tmp_path / "a").exists()
