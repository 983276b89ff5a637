import json
from dataclasses import asdict

import numpy as np
import pytest

from cascade import taxonomy
from cascade.predictions import Detections
from curation.errors import StageError
from curation.labeling.oracle import Oracle
from curation.stages.label import label
from curation.stages.reproduce import SNAPSHOT, keep, reproduce
from curation.storage import collection, rounds, schema, writer

ROADWORK = taxonomy.load("roadwork")


def cone(left):
    return Detections(
        np.array([[left, 0.1, 0.9, 0.3]]), np.ones(1, np.float32), np.zeros(1, np.int64),
        ROADWORK.names,
    )  # fmt: skip


@pytest.fixture
def trained(dataset, tmp_path):
    """Return four samples of which the third came labeled and round 1 labeled two; its round."""
    import fiftyone as fo

    schema.declare(dataset, ROADWORK)
    dataset.info[schema.INFO] = {"taxonomy": ROADWORK.to_yaml()}
    dataset.save()
    for i in range(4):
        tags = ["round-01"] if i < 2 else []
        dataset.add_sample(
            fo.Sample(
                filepath=f"/images/{i}.png",
                split="train",
                content_hash=f"hash{i}",
                tags=tags,
                metadata=fo.ImageMetadata(width=64, height=48),
            )
        )
    ids, _ = collection.ids_and_paths(dataset)
    writer.write_ground_truth(dataset, {ids[2]: cone(0.2)}, labeled_round=0)
    this = rounds.get_round(tmp_path, dataset.name, 1)
    oracle = Oracle(lambda asked: {one: cone(0.1) for one in asked})
    this.run_once("label", lambda: asdict(label(dataset, 1, oracle)))
    return dataset, this, ids


def test_what_has_not_changed_is_identical(trained):
    dataset, this, _ = trained
    found = reproduce(dataset, this)
    assert found.identical
    assert found.now == found.then
    assert (found.images, found.ensemble) == (3, None)


def test_what_later_rounds_labeled_makes_no_difference(trained):
    dataset, this, ids = trained
    writer.write_ground_truth(dataset, {ids[3]: cone(0.4)}, labeled_round=2)
    assert reproduce(dataset, this).identical


def relabel(dataset, ids):
    writer.write_ground_truth(dataset, {ids[0]: cone(0.5)}, labeled_round=1)


def forget(dataset, ids):
    writer.write_columns(dataset, ids[:1], {schema.LABELED_ROUND: [None]})


def move(dataset, ids):
    writer.write_columns(dataset, ids[:1], {schema.SPLIT: ["test"]})


def add(dataset, ids):
    writer.write_ground_truth(dataset, {ids[3]: cone(0.4)}, labeled_round=1)


CHANGES = [
    pytest.param(relabel, "relabeled", "/images/0.png", id="other ground truth"),
    pytest.param(forget, "removed", "/images/0.png", id="no ground truth"),
    pytest.param(move, "moved", "/images/0.png", id="another split"),
    pytest.param(add, "added", "/images/3.png", id="an image more"),
]


@pytest.mark.parametrize(("change", "where", "path"), CHANGES)
def test_what_differs_is_named(trained, change, where, path):
    dataset, this, ids = trained
    keep(dataset, this)
    change(dataset, ids)
    found = reproduce(dataset, this)
    assert not found.identical
    names = ("added", "removed", "moved", "relabeled")
    assert {name: getattr(found, name) for name in names if getattr(found, name)} == {
        where: (path,)
    }


def test_an_image_that_is_no_more_is_named_by_its_hash(trained):
    dataset, this, ids = trained
    keep(dataset, this)
    dataset.delete_samples(ids[:1])
    assert reproduce(dataset, this).removed == ("hash0",)


def test_without_what_was_kept_only_that_it_differs_is_known(trained):
    dataset, this, ids = trained
    relabel(dataset, ids)
    found = reproduce(dataset, this)
    assert not found.identical
    assert "cannot be said" in found.note


def test_a_kept_snapshot_that_was_changed_is_refused(trained):
    dataset, this, ids = trained
    keep(dataset, this)
    (this.folder / SNAPSHOT).write_text("[]")
    relabel(dataset, ids)
    with pytest.raises(StageError, match="is not what the round kept"):
        reproduce(dataset, this)


def test_the_ensemble_at_the_start_counts(trained, make_ensemble):
    dataset, this, _ = trained
    ensemble = make_ensemble(0)
    this.note(ensemble_before=ensemble.identity)
    assert (reproduce(dataset, this).identical, reproduce(dataset, this).ensemble) == (False, False)
    ensemble.save(this.start)
    assert (reproduce(dataset, this).identical, reproduce(dataset, this).ensemble) == (True, True)


def test_the_result_is_plain(trained):
    dataset, this, _ = trained
    assert json.loads(json.dumps(asdict(reproduce(dataset, this))))["identical"]


def test_a_round_that_was_not_labeled_is_refused(trained):
    dataset, this, _ = trained
    with pytest.raises(StageError, match=r"Round 2 .* was not labeled to its end"):
        reproduce(dataset, rounds.Round(2, this.folder.with_name("round-02")))
