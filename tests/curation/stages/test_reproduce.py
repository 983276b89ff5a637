import json
from dataclasses import asdict

import numpy as np
import pytest

from cascade import taxonomy
from cascade.predictions import Detections
from curation.errors import StageError
from curation.labeling.oracle import Oracle
from curation.stages.label import label
from curation.stages.reproduce import SNAPSHOT, reproduce, save_snapshot
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
    round_ = rounds.get_round(tmp_path, dataset.name, 1)
    oracle = Oracle(lambda ids: {i: cone(0.1) for i in ids})
    round_.run_once("label", lambda: asdict(label(dataset, 1, oracle)))
    return dataset, round_, ids


def test_unchanged_input_is_identical(trained):
    dataset, round_, _ = trained
    result = reproduce(dataset, round_)
    assert result.identical
    assert result.now == result.then
    assert (result.images, result.ensemble) == (3, None)


def test_labels_of_later_rounds_do_not_matter(trained):
    dataset, round_, ids = trained
    writer.write_ground_truth(dataset, {ids[3]: cone(0.4)}, labeled_round=2)
    assert reproduce(dataset, round_).identical


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


@pytest.mark.parametrize(("change", "kind", "path"), CHANGES)
def test_differences_are_listed(trained, change, kind, path):
    dataset, round_, ids = trained
    save_snapshot(dataset, round_)
    change(dataset, ids)
    result = reproduce(dataset, round_)
    assert not result.identical
    names = ("added", "removed", "moved", "relabeled")
    assert {name: getattr(result, name) for name in names if getattr(result, name)} == {
        kind: (path,)
    }


def test_removed_image_is_listed_by_hash(trained):
    dataset, round_, ids = trained
    save_snapshot(dataset, round_)
    dataset.delete_samples(ids[:1])
    assert reproduce(dataset, round_).removed == ("hash0",)


def test_missing_snapshot_leaves_differences_unknown(trained):
    dataset, round_, ids = trained
    relabel(dataset, ids)
    result = reproduce(dataset, round_)
    assert not result.identical
    assert "are unknown" in result.note


def test_modified_snapshot_raises(trained):
    dataset, round_, ids = trained
    save_snapshot(dataset, round_)
    (round_.folder / SNAPSHOT).write_text("[]")
    relabel(dataset, ids)
    with pytest.raises(StageError, match="was modified: expected"):
        reproduce(dataset, round_)


def test_changed_starting_ensemble_is_not_identical(trained, make_ensemble):
    dataset, round_, _ = trained
    ensemble = make_ensemble(0)
    round_.note(ensemble_before=ensemble.identity)
    assert (reproduce(dataset, round_).identical, reproduce(dataset, round_).ensemble) == (
        False,
        False,
    )
    ensemble.save(round_.start)
    assert (reproduce(dataset, round_).identical, reproduce(dataset, round_).ensemble) == (
        True,
        True,
    )


def test_result_is_json_serializable(trained):
    dataset, round_, _ = trained
    assert json.loads(json.dumps(asdict(reproduce(dataset, round_))))["identical"]


def test_unlabeled_round_raises(trained):
    dataset, round_, _ = trained
    with pytest.raises(StageError, match=r"Round 2 .* was not labeled completely"):
        reproduce(dataset, rounds.Round(2, round_.folder.with_name("round-02")))
