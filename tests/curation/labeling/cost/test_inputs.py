import json
from dataclasses import replace

import pytest

from curation.errors import LabelingError, StageError
from curation.labeling.cost.inputs import preview_round
from curation.storage import rounds, schema


@pytest.fixture
def scored(dataset):
    """Return six samples of the pool; sample i has hardness i / 10 and i expected boxes."""
    import fiftyone as fo

    for i in range(6):
        dataset.add_sample(
            fo.Sample(filepath=f"/images/{i}.png", split="train", hardness=i / 10,
                      expected_boxes=float(i), labeled_round=None)
        )  # fmt: skip
    return dataset


@pytest.fixture
def own(settings, tmp_path):
    return replace(settings, home=tmp_path)


def test_hardest_samples_stand_in_before_choice(scored, own):
    cost_preview = preview_round(scored, 1, own, budget=2)
    assert (cost_preview.images, cost_preview.cost.boxes, cost_preview.chosen) == (2, 9.0, False)
    assert "assumptions" in cost_preview.rates.source


def test_chosen_unlabeled_samples_are_previewed(scored, own):
    scored[:3].tag_samples("round-01")
    scored[:1].set_values(schema.LABELED_ROUND, [1])
    cost_preview = preview_round(scored, 1, own, budget=99)
    assert (cost_preview.images, cost_preview.cost.boxes, cost_preview.chosen) == (2, 3.0, True)


def test_labeled_round_is_rejected(scored, own):
    scored[:1].tag_samples("round-01")
    scored[:1].set_values(schema.LABELED_ROUND, [1])
    with pytest.raises(StageError, match="All of round 1"):
        preview_round(scored, 1, own, budget=2)


def test_unscored_pool_is_rejected(dataset, own):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/images/a.png"))
    with pytest.raises(StageError, match="curate score"):
        preview_round(dataset, 1, own, budget=2)


def test_videos_are_rejected(dataset, own):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/videos/a.mp4"))
    with pytest.raises(LabelingError, match=r"media type 'video'.*--fps"):
        preview_round(dataset, 1, own, budget=2)


def test_rates_come_from_earlier_rounds(scored, own):
    first = rounds.get_round(own.home, scored.name, 1)
    first.run_once("label", lambda: {"seconds": 340.0, "labeled": 10, "new": 10, "boxes": 10})
    first.run_once("report", dict)
    cost_preview = preview_round(scored, 2, own, budget=1)
    assert (cost_preview.rates.seconds_per_image, cost_preview.rates.seconds_per_box) == (
        20.0,
        14.0,
    )
    assert "1 of the 2 rounds" in cost_preview.advice


def test_sample_times_take_precedence_over_rounds(scored, own):
    folder = own.dataset_folder(scored.name) / "labeling" / "label-studio"
    folder.mkdir(parents=True)
    rows = [{"versions": [{"seconds": 8.0 + 5.0 * k, "labels": ["cone"] * k}]} for k in range(20)]
    (folder / "round-01.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    cost_preview = preview_round(scored, 2, own, budget=1)
    assert (cost_preview.rates.seconds_per_image, cost_preview.rates.seconds_per_box) == (8.0, 5.0)
    (folder / "round-02.jsonl").write_text("{")
    with pytest.raises(StageError, match=r"Cannot parse .*round-02\.jsonl"):
        preview_round(scored, 2, own, budget=1)
