"""YOLOE and YOLO-World: as ultralytics predicts, from a folder without a pickle."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cascade import registry, taxonomy
from cascade.errors import CheckpointError
from cascade.images import Batch
from cascade.model import predict
from cascade.models.prompting import prompts_of

pytestmark = pytest.mark.skipif(
    find_spec("ultralytics") is None, reason="ultralytics is not installed"
)
if find_spec("ultralytics"):
    import tiny_yoloe

    from cascade.models import yoloe

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


def load(folder, asked=None):
    return registry.create("yoloe", folder, taxonomy=asked or taxonomy.load("roadwork"))


def close(one, other, atol=1e-5):
    return (
        np.array_equal(one.class_ids, other.class_ids)
        and np.allclose(one.scores, other.scores, atol=atol)
        and np.allclose(one.boxes_xyxy, other.boxes_xyxy, atol=atol)
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_its_cells_say_what_ultralytics_says(name, tmp_path):
    """The trimmed network, asked for two of three prompts, against the whole one."""
    network, rows = tiny_yoloe.network(*NETWORKS[name]), tiny_yoloe.embeddings(3)
    yoloe.export(network, tmp_path / "a", prompts=["cone", "drum", "sign"], embeddings=rows)
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
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs  # masks beside them
    centres, sides = theirs[:, :2], theirs[:, 2:4]
    corners = torch.cat([centres - sides / 2, centres + sides / 2], dim=1)
    assert ours.shape == (2, 6, 12 * 16 + 6 * 8 + 3 * 4)
    assert torch.allclose(ours[:, :4], corners, atol=1e-6)
    assert torch.allclose(ours[:, 4:], theirs[:, 4:6], atol=1e-9)
    assert ours[:, 4:].std() > 0.01


def test_it_predicts_what_ultralytics_predicts(tmp_path):
    """The whole way: letterbox, network, suppression."""
    from ultralytics import YOLOE

    network, prompts = tiny_yoloe.network(*NETWORKS["yoloe-26"]), ["cone", "drum", "sign"]
    rows = tiny_yoloe.embeddings(3)
    yoloe.export(network, tmp_path / "a", prompts=prompts, embeddings=rows, size=96)
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
        rows, classes = theirs.boxes.xyxyn.numpy(), theirs.boxes.cls.numpy()
        apart = np.abs(rows[:, None] - ours.boxes_xyxy).max(axis=2)
        apart[classes[:, None] != ours.class_ids] = np.inf
        assert len(rows) > 30
        assert (apart.min(axis=1) < 5e-3).mean() > 0.95
        assert np.allclose(ours.scores[:20], theirs.boxes.conf[:20], atol=1e-3)


def test_its_classes_are_the_prompts(folder):
    model = load(folder)
    assert model.classes == prompts_of(taxonomy.load("roadwork"))
    for one in predict(model, batch_of((90, 160), (64, 64))):
        assert one.classes == model.classes
        assert len(one) > 20
        assert len(set(one.labels)) > 3


def test_a_batch_says_what_its_images_say(folder):
    model, batch = load(folder), batch_of((90, 160), (120, 60), (64, 64), (90, 160))
    for i, together in enumerate(predict(model, batch)):
        (alone,) = predict(model, batch.part(i, i + 1))
        assert close(together, alone)
        assert len(alone) > 20


def test_an_empty_batch_gives_nothing(folder):
    assert predict(load(folder), Batch(ids=(), images=())) == []


def test_prompts_move_with_the_network(folder):
    model = load(folder)
    assert len(model.classes) in {one.shape[-2] for one in model.module.buffers() if one.ndim == 3}
    assert not any(one.requires_grad for one in model.module.parameters())


def test_an_unknown_prompt_is_refused(folder):
    with pytest.raises(CheckpointError, match=r"no embedding of 'zebra' \(1 of 2 prompts"):
        load(folder, asked_for("zebra", taxonomy_prompt()))


def taxonomy_prompt():
    return prompts_of(taxonomy.load("roadwork"))[0]


def test_another_prompt_is_another_row(folder, tmp_path):
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
        pytest.param({"activation": "__import__('os')"}, "must have keys", id="evaluated"),
        pytest.param({"head": [[-1, 1, "torch_load", []]]}, "is no layer of", id="looked up"),
        pytest.param({"head": [[-1, 1, "Conv", ["d"]]]}, "plain numbers only", id="argument"),
        pytest.param({"head": 3}, "must be lists of layers", id="no layers"),
    ],
)
def test_a_checkpoint_cannot_run_code(folder, tmp_path, change, message):
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
        pytest.param(lambda f: (f / "config.json").unlink(), "There is no checkpoint", id="config"),
        pytest.param(lambda f: (f / yoloe.PROMPTS).unlink(), "prompts' embeddings", id="prompts"),
        pytest.param(
            lambda f: (f / yoloe.PROMPTS).write_bytes(b"PK"), "is damaged", id="a damaged file"
        ),
    ],
)
def test_an_incomplete_folder_is_refused(folder, tmp_path, change, message):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    change(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path)


def test_it_needs_a_checkpoint():
    with pytest.raises(CheckpointError, match="a folder that `cascade"):
        load(None)


def test_embeddings_are_asked_of_the_text_tower_where_none_are_given(tmp_path):
    network, rows = tiny_yoloe.network(*NETWORKS["yoloe-26"]), tiny_yoloe.embeddings(2)
    known = dict(zip(["cone", "drum"], rows, strict=True))
    network.get_text_pe = lambda prompts: torch.stack([known[one] for one in prompts])[None]
    yoloe.export(network, tmp_path / "a", prompts=["drum", "cone"])
    written = load_file(tmp_path / "a" / yoloe.PROMPTS)
    assert written.keys() == known.keys()
    assert all(torch.equal(written[one], known[one]) for one in known)


def test_what_cannot_be_exported_is_refused(tmp_path):
    rows = tiny_yoloe.embeddings(1)
    with pytest.raises(CheckpointError, match="Expected a YOLOE or YOLO-World"):
        yoloe.export(torch.nn.Linear(1, 1), tmp_path / "a", prompts=["a"], embeddings=rows)
    network = tiny_yoloe.network(*NETWORKS["yoloe-26"])
    with pytest.raises(CheckpointError, match=r"must have shape \(2, D\), got \(1, 512\)"):
        yoloe.export(network, tmp_path / "a", prompts=["a", "b"], embeddings=rows)
    fused = tiny_yoloe.network(*NETWORKS["yoloe-26"]).fuse(verbose=False)
    with pytest.raises(CheckpointError, match="has it predicted already"):
        yoloe.export(fused, tmp_path / "a", prompts=["a"], embeddings=rows)
    assert list(tmp_path.iterdir()) == []
