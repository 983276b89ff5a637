"""Fitting: it learns, it repeats, it stops, it keeps the best, and it says what is wrong."""

import itertools
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
from cascade.training.fit import Example, fit, one_cycle, order_of

CLASSES = ("red", "blue")
FROM_NOTHING = ("center_point", "rt_detr", "yolo")  # the others start from a checkpoint
COLOURS = np.array([[220, 30, 30], [30, 30, 220]], np.uint8)


def scenes(n, side=96):
    """Grey images with a red and a blue square each, in other places."""
    rng = np.random.default_rng(1)
    made = []
    for _ in range(n):
        image = np.full((side, side, 3), 120, np.uint8)
        boxes = []
        for i, left in enumerate(rng.permutation([0, 1])):
            x, y = side // 2 * left + rng.integers(2, side // 6), rng.integers(2, side // 2)
            w = h = int(rng.integers(side // 5, side // 3))
            image[y : y + h, x : x + w] = COLOURS[i]
            boxes.append([x, y, x + w, y + h])
        corners = (np.array(boxes) / side).astype(np.float32)
        target = Detections(corners, np.ones(2, np.float32), np.arange(2), CLASSES)
        made.append(Example(image, target))
    return made


def swapped(examples):
    """The same images with red called blue."""
    return [
        Example(one.image, replace(one.target, class_ids=1 - one.target.class_ids))
        for one in examples
    ]


def member(adapter="center_point", size=96, **params):
    if registry.get(adapter).missing:
        pytest.skip(f"{adapter} needs a package that is absent")
    return registry.create(adapter, classes=CLASSES, size=size, **params)


def learned_by_heart(model, images, out):
    return fit(model, images, images, out=out, epochs=60, patience=60, batch_size=4,
               learning_rate=1e-2)  # fmt: skip


def test_four_images_are_learned_by_heart(tmp_path):
    model, images = member(width=32), scenes(4)
    result = learned_by_heart(model, images, tmp_path / "a")
    assert result.train_loss[-1] < result.train_loss[0] / 3
    assert result.val_map50_before < 0.1
    assert max(result.val_map50) > 0.9
    assert result.val_map50[result.best_epoch - 1] == max(result.val_map50)
    found = predict(model, Batch(ids=("",), images=(images[0].image,)))[0]
    assert set(found[:2].labels) == set(CLASSES)


@pytest.mark.parametrize("adapter", FROM_NOTHING)
def test_every_detector_gets_better(adapter, tmp_path):
    result = fit(member(adapter), scenes(4), [], out=tmp_path / "a", epochs=12, batch_size=4)
    assert result.train_loss[-1] < result.train_loss[0]


@pytest.mark.parametrize("adapter", FROM_NOTHING)
def test_the_same_seed_gives_the_same_weights_bit_for_bit(adapter, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.rand(1)  # the caller's own random numbers make no difference
        model = member(adapter, size=64)
        fit(model, scenes(5), [], out=tmp_path / name, epochs=2, seed=seed, batch_size=2)
    a, b, c = (sources.fingerprint(tmp_path / name) for name in "abc")
    assert a == b != c


def test_the_callers_random_numbers_go_on_undisturbed(tmp_path):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    fit(member(size=64), scenes(2), [], out=tmp_path / "a", epochs=1)
    assert torch.rand(1) == expected


def test_it_stops_where_validation_gets_no_better(tmp_path):
    model, images = member(width=32), scenes(4)
    learned_by_heart(model, images, tmp_path / "a")
    before = sources.fingerprint(tmp_path / "a")
    result = fit(model, swapped(images), images, out=tmp_path / "b", epochs=20, patience=2)
    assert (result.epochs, result.best_epoch) == (2, 0)
    assert max(result.val_map50) <= result.val_map50_before
    assert sources.fingerprint(tmp_path / "b") == before


def test_patience_waits_for_a_first_find(tmp_path):
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
def test_without_validation_the_last_epoch_is_kept(val, tmp_path):
    result = fit(member(size=64), scenes(3), val, out=tmp_path / "a", epochs=3, patience=1)
    assert (result.epochs, result.best_epoch) == (3, 3)
    assert result.val_map50 == ()
    assert result.val_map50_before is None


def test_the_model_ends_as_its_checkpoint(tmp_path):
    model = member(size=64)
    result = fit(model, scenes(3), scenes(2), out=tmp_path / "a", epochs=2)
    assert result.checkpoint == tmp_path / "a"
    kept = checkpoint.load(tmp_path / "a")[1]
    assert all(torch.equal(kept[name], one) for name, one in checkpoint.state(model.module).items())
    assert not model.module.training


def statistics(model):
    return {k: v.clone() for k, v in model.module.named_buffers() if "running" in k}


def test_batch_statistics_are_learned_once_then_kept(tmp_path):
    model = member("rt_detr", size=64)
    initial = statistics(model)
    fit(model, scenes(3), [], out=tmp_path / "a", epochs=1)
    learned = statistics(model)
    assert any(not torch.equal(v, initial[k]) for k, v in learned.items())
    fit(model, scenes(3), [], out=tmp_path / "a", epochs=1)
    assert all(torch.equal(v, learned[k]) for k, v in statistics(model).items())


class CrashError(Exception):
    """What ends a fit in the middle."""


def crash_after(epoch):
    def progress(done, _):
        if done == epoch:
            raise CrashError

    return progress


@pytest.mark.parametrize("adapter", ["center_point", "rt_detr"])
@pytest.mark.parametrize("keep_every", [1, 2])
def test_a_fit_that_was_cut_off_ends_as_if_it_had_not_been(adapter, keep_every, tmp_path):
    """The same weights bit for bit, on a CPU; rt_detr draws random numbers in every step."""
    images, options = scenes(5), {"epochs": 4, "batch_size": 2, "seed": 3}
    whole = fit(member(adapter, size=64), images, images[:2], out=tmp_path / "whole", **options)
    options |= {"goes_on": tmp_path / "standing.safetensors", "keep_every": keep_every}
    with pytest.raises(CrashError):
        fit(member(adapter, size=64), images, images[:2], out=tmp_path / "parts",
            progress=crash_after(3), **options)  # fmt: skip
    assert not (tmp_path / "parts").exists()
    told = []
    rest = fit(member(adapter, size=64), images, images[:2], out=tmp_path / "parts",
               progress=lambda *at: told.append(at), **options)  # fmt: skip
    assert rest.resumed_from == (3 if keep_every == 1 else 2)
    assert told[0] == (rest.resumed_from + 1, 4)
    assert replace(rest, seconds=0, resumed_from=0, checkpoint=0) == replace(
        whole, seconds=0, checkpoint=0
    )
    assert sources.fingerprint(tmp_path / "parts") == sources.fingerprint(tmp_path / "whole")
    assert not options["goes_on"].exists()


def test_another_fits_standing_is_not_taken_up(tmp_path):
    options = {"epochs": 3, "goes_on": tmp_path / "standing.safetensors", "out": tmp_path / "a"}
    with pytest.raises(CrashError):
        fit(member(size=64), scenes(3), [], progress=crash_after(2), seed=1, **options)
    assert options["goes_on"].is_file()
    assert fit(member(size=64), scenes(3), [], seed=2, **options).resumed_from == 0


def test_an_image_that_cannot_be_read_does_not_stop_it(tmp_path):
    absent = Example(tmp_path / "absent.jpg", scenes(1)[0].target)
    result = fit(member(size=64), [absent, *scenes(2)], [*scenes(2), absent],
                 out=tmp_path / "a", epochs=2, batch_size=1)  # fmt: skip
    assert result.epochs == len(result.val_map50) == 2
    assert [one for one in result.unreadable if "absent.jpg cannot be read" in one]
    with pytest.raises(TrainingError, match=r"None of the 1 images can be read.*absent\.jpg"):
        fit(member(size=64), [absent], [], out=tmp_path / "b", epochs=1)


def test_validation_can_be_less_often_than_epochs(tmp_path):
    result = fit(member(size=64), scenes(2), scenes(1), out=tmp_path / "a", epochs=5,
                 validate_every=2, patience=5)  # fmt: skip
    assert (len(result.train_loss), len(result.val_map50)) == (5, 3)  # after 2, 4 and the last


def test_new_variants_in_every_epoch_are_learned_from_too(tmp_path):
    results = [
        fit(member(size=64), scenes(3), [], out=tmp_path / "a", epochs=3, variants=n)
        for n in (0, 1, 4)
    ]
    assert len({one.train_loss for one in results}) == 3


def test_without_weights_every_image_is_shown_once():
    assert sorted(order_of(7, seed=0, epoch=1)) == list(range(7))
    assert order_of(7, seed=0, epoch=1).tolist() != order_of(7, seed=0, epoch=2).tolist()


def test_weights_say_how_often_an_image_is_shown():
    weights = [1.0, 3.0, 0.0, 1.0, 1.0]
    shown = [order_of(5, seed=0, epoch=epoch, weights=weights) for epoch in range(600)]
    counts = np.array([np.bincount(one, minlength=5) for one in shown])
    assert (counts.sum(axis=1) == 5).all()
    assert counts.mean(axis=0) == pytest.approx(5 * np.array(weights) / 6, abs=0.06)
    assert (np.abs(counts - 5 * np.array(weights) / 6) < 1).all()  # rounded up or down, no more


def test_a_model_for_prediction_alone_is_refused(tmp_path):
    model = member(size=64)
    model.module.requires_grad_(False)
    with pytest.raises(TrainingError, match=r"Nothing in the model can be trained.*with_classes"):
        fit(model, scenes(1), [], out=tmp_path / "a", epochs=1)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0]])
def test_weights_that_cannot_be_are_refused(weights, tmp_path):
    with pytest.raises(TrainingError, match="weights must be one number of at least 0 for each"):
        fit(member(size=64), scenes(2), [], out=tmp_path / "a", weights=weights)


def test_every_epoch_is_reported(tmp_path):
    told = []
    fit(
        member(size=64),
        scenes(3),
        [],
        out=tmp_path / "a",
        epochs=3,
        progress=lambda *a: told.append(a),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_loss_that_is_no_number_stops_it(tmp_path):
    model = member(size=64)
    model.module.heat.bias.data.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"The loss became nan\. Lower the learning rate"):
        fit(model, scenes(2), scenes(2), out=tmp_path / "a", epochs=1)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        pytest.param([], {}, "no image to learn from", id="nothing"),
        pytest.param(scenes(1), {"epochs": 0}, "epochs must be at least 1, got 0", id="no epoch"),
        pytest.param(
            [Example(scenes(1)[0].image, Detections.empty(("cone",)))],
            {},
            r"The model names \['red', 'blue'\], the targets \['cone'\]",
            id="other classes",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(train, options, message, tmp_path):
    with pytest.raises(TrainingError, match=message):
        fit(member(size=64), train, [], out=tmp_path / "a", **options)


def test_the_learning_rate_rises_then_falls():
    rates = [one_cycle(share) for share in np.linspace(0, 1, 101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.01)
    assert all(a < b for a, b in itertools.pairwise(rates[:11]))
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
