import json
from dataclasses import replace

import pytest

from curation.errors import LabelingError, StageError
from curation.labeling.cost.inputs import outlook
from curation.storage import rounds, schema


@pytest.fixture
def scored(dataset):
    """Return six samples of the pool, the i-th with hardness i / 10 and i expected boxes."""
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


def test_before_the_choice_the_hardest_stand_for_the_batch(scored, own):
    found = outlook(scored, 1, own, budget=2)
    assert (found.images, found.cost.boxes, found.chosen) == (2, 9.0, False)
    assert "assumptions" in found.rates.source


def test_after_the_choice_it_is_about_what_waits(scored, own):
    scored[:3].tag_samples("round-01")
    scored[:1].set_values(schema.LABELED_ROUND, [1])
    found = outlook(scored, 1, own, budget=99)
    assert (found.images, found.cost.boxes, found.chosen) == (2, 3.0, True)


def test_a_round_that_is_labeled_costs_nothing_more(scored, own):
    scored[:1].tag_samples("round-01")
    scored[:1].set_values(schema.LABELED_ROUND, [1])
    with pytest.raises(StageError, match="All of round 1"):
        outlook(scored, 1, own, budget=2)


def test_a_pool_that_was_not_scored_is_refused(dataset, own):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/images/a.png"))
    with pytest.raises(StageError, match="curate score"):
        outlook(dataset, 1, own, budget=2)


def test_a_video_is_refused(dataset, own):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/videos/a.mp4"))
    with pytest.raises(LabelingError, match=r"media type 'video'.*--fps"):
        outlook(dataset, 1, own, budget=2)


def test_earlier_rounds_are_measured(scored, own):
    first = rounds.get_round(own.home, scored.name, 1)
    first.run_once("label", lambda: {"seconds": 340.0, "labeled": 10, "new": 10, "boxes": 10})
    first.run_once("report", dict)
    found = outlook(scored, 2, own, budget=1)
    assert (found.rates.seconds_per_image, found.rates.seconds_per_box) == (20.0, 14.0)
    assert "1 of the 2 rounds" in found.advice


def test_what_was_noted_of_samples_goes_before_rounds(scored, own):
    place = own.dataset_folder(scored.name) / "labeling" / "label-studio"
    place.mkdir(parents=True)
    rows = [{"versions": [{"seconds": 8.0 + 5.0 * k, "labels": ["cone"] * k}]} for k in range(20)]
    (place / "round-01.jsonl").write_text("\n".join(json.dumps(one) for one in rows))
    found = outlook(scored, 2, own, budget=1)
    assert (found.rates.seconds_per_image, found.rates.seconds_per_box) == (8.0, 5.0)
    (place / "round-02.jsonl").write_text("{")
    with pytest.raises(StageError, match=r"round-02\.jsonl cannot be read"):
        outlook(scored, 2, own, budget=1)
