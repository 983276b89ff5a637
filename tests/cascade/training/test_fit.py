"""Fits: learning, reproducibility, early stopping, selection of the best epoch, and errors."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from cascade import registry
from cascade.checkpoints import checkpoint, sources
from cascade.errors import TrainingError
from cascade.imaging.batches import Batch
from cascade.predictions import Detections
from cascade.protocols import predict
from cascade.training.fit import Example, epoch_order, fit

CLASSES = ("red", "blue")
FROM_NOTHING = ("center_point", "rt_detr", "yolo")  # the other adapters need a checkpoint
COLORS = np.array([[220, 30, 30], [30, 30, 220]], np.uint8)


def scenes(n, side=96):
    """Gray images with a red and a blue square each, at random positions."""
    rng = np.random.default_rng(1)
    examples = []
    for _ in range(n):
        image = np.full((side, side, 3), 120, np.uint8)
        boxes = []
        for i, left in enumerate(rng.permutation([0, 1])):
            x, y = side // 2 * left + rng.integers(2, side // 6), rng.integers(2, side // 2)
            w = h = int(rng.integers(side // 5, side // 3))
            image[y : y + h, x : x + w] = COLORS[i]
            boxes.append([x, y, x + w, y + h])
        corners = (np.array(boxes) / side).astype(np.float32)
        target = Detections(corners, np.ones(2, np.float32), np.arange(2), CLASSES)
        examples.append(Example(image, target))
    return examples


def swapped(examples):
    """The same images with swapped classes."""
    return [
        Example(example.image, replace(example.target, class_ids=1 - example.target.class_ids))
        for example in examples
    ]


def member(adapter="center_point", size=96, **params):
    if registry.get(adapter).missing:
        pytest.skip(f"{adapter} needs a package that is absent")
    return registry.create(adapter, classes=CLASSES, size=size, **params)


def memorize(model, images, out):
    return fit(model, images, images, out=out, epochs=60, patience=60, batch_size=4,
               learning_rate=1e-2)  # fmt: skip


def test_fit_memorizes_four_images(tmp_path):
    model, images = member(width=32), scenes(4)
    result = memorize(model, images, tmp_path / "a")
    assert result.train_loss[-1] < result.train_loss[0] / 3
    assert result.val_map50_before < 0.1
    assert max(result.val_map50) > 0.9
    assert result.val_map50[result.best_epoch - 1] == max(result.val_map50)
    boxes = predict(model, Batch(ids=("",), images=(images[0].image,)))[0]
    assert set(boxes[:2].labels) == set(CLASSES)


@pytest.mark.parametrize("adapter", FROM_NOTHING)
def test_loss_of_every_detector_falls(adapter, tmp_path):
    result = fit(member(adapter), scenes(4), [], out=tmp_path / "a", epochs=12, batch_size=4)
    assert result.train_loss[-1] < result.train_loss[0]


@pytest.mark.parametrize("adapter", FROM_NOTHING)
def test_equal_seeds_give_bit_identical_weights(adapter, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.rand(1)  # the caller's random state has no effect
        model = member(adapter, size=64)
        fit(model, scenes(5), [], out=tmp_path / name, epochs=2, seed=seed, batch_size=2)
    a, b, c = (sources.fingerprint(tmp_path / name) for name in "abc")
    assert a == b != c


def test_fit_keeps_random_state_of_caller(tmp_path):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    fit(member(size=64), scenes(2), [], out=tmp_path / "a", epochs=1)
    assert torch.rand(1) == expected


def test_fit_stops_without_improvement(tmp_path):
    model, images = member(width=32), scenes(4)
    memorize(model, images, tmp_path / "a")
    before = sources.fingerprint(tmp_path / "a")
    result = fit(model, swapped(images), images, out=tmp_path / "b", epochs=20, patience=2)
    assert (result.epochs, result.best_epoch) == (2, 0)
    assert max(result.val_map50) <= result.val_map50_before
    assert sources.fingerprint(tmp_path / "b") == before


def test_patience_counts_from_first_match(tmp_path):
    result = fit(member(size=64), scenes(1), scenes(2), out=tmp_path / "a", epochs=3, patience=1,
                 learning_rate=1e-9)  # fmt: skip
    assert result.val_map50 == (0, 0, 0)
    assert result.best_epoch == 3


@pytest.mark.parametrize(
    "val",
    [
        pytest.param([], id="none"),
        pytest.param([Example(scenes(1)[0].image, Detections.empty(CLASSES))], id="no boxes"),
    ],
)
def test_last_epoch_is_selected_without_validation(val, tmp_path):
    result = fit(member(size=64), scenes(3), val, out=tmp_path / "a", epochs=3, patience=1)
    assert (result.epochs, result.best_epoch) == (3, 3)
    assert result.val_map50 == ()
    assert result.val_map50_before is None


def test_model_ends_with_weights_of_checkpoint(tmp_path):
    model = member(size=64)
    result = fit(model, scenes(3), scenes(2), out=tmp_path / "a", epochs=2)
    assert result.checkpoint == tmp_path / "a"
    saved = checkpoint.load(tmp_path / "a")[1]
    weights = checkpoint.state(model.module)
    assert all(torch.equal(saved[name], tensor) for name, tensor in weights.items())
    assert not model.module.training


def statistics(model):
    return {k: v.clone() for k, v in model.module.named_buffers() if "running" in k}


def test_batch_statistics_are_learned_once(tmp_path):
    model = member("rt_detr", size=64)
    initial = statistics(model)
    fit(model, scenes(3), [], out=tmp_path / "a", epochs=1)
    learned = statistics(model)
    assert any(not torch.equal(v, initial[k]) for k, v in learned.items())
    fit(model, scenes(3), [], out=tmp_path / "a", epochs=1)
    assert all(torch.equal(v, learned[k]) for k, v in statistics(model).items())


class CrashError(Exception):
    """Simulates a crash during a fit."""


def crash_after(epoch):
    def progress(done, _):
        if done == epoch:
            raise CrashError

    return progress


@pytest.mark.parametrize("adapter", ["center_point", "rt_detr"])
@pytest.mark.parametrize("save_every", [1, 2])
def test_interrupted_fit_resumes_with_equal_result(adapter, save_every, tmp_path):
    """Weights are bit-identical on a CPU; rt_detr draws random numbers in every step."""
    images, options = scenes(5), {"epochs": 4, "batch_size": 2, "seed": 3}
    reference = fit(
        member(adapter, size=64), images, images[:2], out=tmp_path / "reference", **options
    )
    options |= {"state_file": tmp_path / "standing.safetensors", "save_every": save_every}
    with pytest.raises(CrashError):
        fit(member(adapter, size=64), images, images[:2], out=tmp_path / "parts",
            progress=crash_after(3), **options)  # fmt: skip
    assert not (tmp_path / "parts").exists()
    calls = []
    resumed = fit(member(adapter, size=64), images, images[:2], out=tmp_path / "parts",
               progress=lambda *at: calls.append(at), **options)  # fmt: skip
    assert resumed.resumed_from == (3 if save_every == 1 else 2)
    assert calls[0] == (resumed.resumed_from + 1, 4)
    assert replace(resumed, seconds=0, resumed_from=0, checkpoint=0) == replace(
        reference, seconds=0, checkpoint=0
    )
    assert sources.fingerprint(tmp_path / "parts") == sources.fingerprint(tmp_path / "reference")
    assert not options["state_file"].exists()


def test_state_of_other_fit_is_ignored(tmp_path):
    options = {"epochs": 3, "state_file": tmp_path / "standing.safetensors", "out": tmp_path / "a"}
    with pytest.raises(CrashError):
        fit(member(size=64), scenes(3), [], progress=crash_after(2), seed=1, **options)
    assert options["state_file"].is_file()
    assert fit(member(size=64), scenes(3), [], seed=2, **options).resumed_from == 0


def test_unreadable_image_is_left_out(tmp_path):
    absent = Example(tmp_path / "absent.jpg", scenes(1)[0].target)
    result = fit(member(size=64), [absent, *scenes(2)], [*scenes(2), absent],
                 out=tmp_path / "a", epochs=2, batch_size=1)  # fmt: skip
    assert result.epochs == len(result.val_map50) == 2
    assert any(re.search(r"read image .*absent\.jpg", reason) for reason in result.unreadable)
    with pytest.raises(TrainingError, match=r"None of the 1 images can be read.*absent\.jpg"):
        fit(member(size=64), [absent], [], out=tmp_path / "b", epochs=1)


def test_validation_interval(tmp_path):
    result = fit(member(size=64), scenes(2), scenes(1), out=tmp_path / "a", epochs=5,
                 validate_every=2, patience=5)  # fmt: skip
    assert (len(result.train_loss), len(result.val_map50)) == (5, 3)  # after 2, 4 and the last


def test_number_of_variants_changes_training(tmp_path):
    results = [
        fit(member(size=64), scenes(3), [], out=tmp_path / "a", epochs=3, variants=n)
        for n in (0, 1, 4)
    ]
    assert len({result.train_loss for result in results}) == 3


def test_epoch_without_weights_shows_each_image_once():
    assert sorted(epoch_order(7, seed=0, epoch=1)) == list(range(7))
    assert epoch_order(7, seed=0, epoch=1).tolist() != epoch_order(7, seed=0, epoch=2).tolist()


def test_epoch_with_weights_shows_images_in_proportion():
    weights = [1.0, 3.0, 0.0, 1.0, 1.0]
    orders = [epoch_order(5, seed=0, epoch=epoch, weights=weights) for epoch in range(600)]
    counts = np.array([np.bincount(order, minlength=5) for order in orders])
    assert (counts.sum(axis=1) == 5).all()
    assert counts.mean(axis=0) == pytest.approx(5 * np.array(weights) / 6, abs=0.06)
    assert (np.abs(counts - 5 * np.array(weights) / 6) < 1).all()  # only rounded up or down


def test_model_for_prediction_is_rejected(tmp_path):
    model = member(size=64)
    model.module.requires_grad_(False)
    with pytest.raises(TrainingError, match=r"Nothing in the model can be trained.*with_classes"):
        fit(model, scenes(1), [], out=tmp_path / "a", epochs=1)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0]])
def test_invalid_weights_are_rejected(weights, tmp_path):
    with pytest.raises(TrainingError, match="weights must be one number of at least 0 for each"):
        fit(member(size=64), scenes(2), [], out=tmp_path / "a", weights=weights)


def test_progress_reports_every_epoch(tmp_path):
    calls = []
    fit(
        member(size=64),
        scenes(3),
        [],
        out=tmp_path / "a",
        epochs=3,
        progress=lambda *a: calls.append(a),
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_nan_loss_stops_fit(tmp_path):
    model = member(size=64)
    model.module.heat.bias.data.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"The loss became nan\. Lower the learning rate"):
        fit(model, scenes(2), scenes(2), out=tmp_path / "a", epochs=1)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        pytest.param([], {}, "at least one image, got none", id="no images"),
        pytest.param(scenes(1), {"epochs": 0}, "epochs must be at least 1, got 0", id="no epoch"),
        pytest.param(
            [Example(scenes(1)[0].image, Detections.empty(("cone",)))],
            {},
            r"The model has the classes \['red', 'blue'\], the targets \['cone'\]",
            id="other classes",
        ),
    ],
)
def test_invalid_arguments_are_rejected(train, options, message, tmp_path):
    with pytest.raises(TrainingError, match=message):
        fit(member(size=64), train, [], out=tmp_path / "a", **options)
