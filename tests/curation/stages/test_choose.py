import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from cascade.predictions import Failure
from curation.errors import StageError
from curation.stages.choose import choose
from curation.stages.score import score
from curation.storage import collection, schema, writer
from curation.storage.embeddings import brain_runs
from curation.storage.tags import round_name


@pytest.fixture(scope="module")
def scored(seen, center):
    """Return the predicted scenes, ranked. To look at: see `ranked`."""
    made = seen.clone()
    score(made, ensemble=center)
    return made


@pytest.fixture
def ranked(scored):
    made = scored.clone()
    yield made
    made.delete()


def batch(dataset, number=1):
    """Return the columns of a round's batch, first to be labeled first."""
    view = dataset.match_tags(round_name(number)).sort_by(schema.RANK)
    names = ("id", "tags", schema.RANK, schema.CHOSEN_BECAUSE, schema.SPLIT, schema.HARDNESS)
    return dict(zip(names, view.values(list(names)), strict=True))


def arms(columns):
    return [tag for tags in columns["tags"] for tag in tags if tag.startswith("arm:")]


def test_batch_has_budget_random_share_and_ranks(ranked):
    result = choose(ranked, round_number=1, budget=10)
    columns = batch(ranked)
    assert (result.pool, result.chosen) == (34, 10)
    assert columns[schema.RANK] == list(range(1, 11))
    assert len(arms(columns)) == 10
    assert result.arms == {arm: arms(columns).count(f"arm:{arm}") for arm in result.arms}
    assert result.arms["random"] == 2  # 15 % of 10, rounded half up
    assert all(sentence.endswith(".") for sentence in columns[schema.CHOSEN_BECAUSE])


def test_hard_arm_comes_from_harder_half(ranked):
    choose(ranked, round_number=1, budget=10)
    columns = batch(ranked)
    hard = [
        h
        for h, tags in zip(columns[schema.HARDNESS], columns["tags"], strict=True)
        if "arm:hard" in tags
    ]
    assert len(hard) >= 4
    assert min(hard) >= 0.5
    why = [
        w
        for w, t in zip(columns[schema.CHOSEN_BECAUSE], columns["tags"], strict=True)
        if "arm:hard" in t
    ]
    assert all(sentence.startswith("Hardness ") for sentence in why)


def test_validation_and_test_are_never_chosen(ranked):
    result = choose(ranked, round_number=1, budget=70)
    assert result.pool == 34
    assert result.chosen <= 34
    assert set(batch(ranked)[schema.SPLIT]) == {"train"}
    assert any("Only " in sentence for sentence in result.advice), "fewer than asked for is said"


@pytest.mark.parametrize("again", [{"budget": 10}, {"budget": 3, "seed": 9}], ids=["same", "other"])
def test_round_is_chosen_once(ranked, again):
    first = choose(ranked, round_number=1, budget=10)
    before = batch(ranked)
    assert choose(ranked, round_number=1, **again) == first
    assert batch(ranked) == before


def test_choose_result_is_json_serializable(ranked):
    choose(ranked, round_number=1, budget=5)
    again = asdict(choose(ranked, round_number=1, budget=5))
    assert json.loads(json.dumps(again))["arms"] == again["arms"]
    assert isinstance(again["advice"], tuple)


def test_same_seed_chooses_same_batch(scored):
    batches = []
    for seed in (0, 0, 1):
        copy = scored.clone()
        choose(copy, round_number=1, budget=8, seed=seed)
        columns = batch(copy)
        names = [
            Path(path).name for path in copy.select(columns["id"], ordered=True).values("filepath")
        ]
        batches.append(names)
        copy.delete()
    assert batches[0] == batches[1]
    assert batches[0] != batches[2]


def test_samples_of_other_rounds_are_not_chosen_again(ranked):
    choose(ranked, round_number=1, budget=8)
    result = choose(ranked, round_number=2, budget=8)
    first, second = batch(ranked, 1), batch(ranked, 2)
    assert result.pool == 34 - 8, "chosen in round 1 and not labeled yet"
    assert set(first["id"]).isdisjoint(second["id"])
    assert len(second["id"]) == result.chosen
    assert all(tags.count("round-01") == 1 for tags in first["tags"]), "and its batch stays"


def test_interrupted_choice_is_repeated(ranked):
    schema.declare_choice(ranked)
    some = ranked.match({schema.SPLIT: "train"}).limit(3)
    some.tag_samples(["round-01", "arm:hard"])
    some.set_values(schema.RANK, [1, 2, 3])
    result = choose(ranked, round_number=1, budget=6)
    assert len(batch(ranked)["id"]) == result.chosen == 6
    assert batch(ranked)[schema.RANK] == [1, 2, 3, 4, 5, 6]


def test_coverage_only_needs_no_hardness(predicted):
    result = choose(predicted, round_number=1, budget=10, use_hardness=False)
    assert result.chosen == 10
    assert set(result.arms) == {"coverage", "random"}
    assert (result.boxes, result.hours) == (None, None)


def test_cost_is_estimated_from_expected_boxes(ranked):
    result = choose(ranked, round_number=1, budget=6)
    expected = ranked.select(batch(ranked)["id"]).values(schema.EXPECTED_BOXES)
    assert result.boxes == pytest.approx(sum(expected), abs=0.06)
    assert result.hours > 0


def test_missing_hardness_names_command(predicted):
    with pytest.raises(
        StageError, match=r"No sample in .* has a hardness score. Run `curate score"
    ):
        choose(predicted, round_number=1, budget=5)
    assert batch(predicted)["id"] == []


def test_missing_embeddings_name_command(scenes):
    with pytest.raises(StageError, match=r"has no embeddings. Run `curate embed"):
        choose(scenes, round_number=1, budget=5, use_hardness=False)


def test_sample_without_embedding_is_reported(ranked):
    import fiftyone as fo

    ranked.add_sample(fo.Sample(filepath="/zz_new.jpg", split="train"))
    with pytest.raises(StageError, match="1 of 35 samples have no embedding"):
        choose(ranked, round_number=1, budget=5)


def test_image_with_failed_embedding_is_left_out_and_reported(ranked):
    import fiftyone as fo

    lost = ranked.add_sample(fo.Sample(filepath="/zz_lost.jpg", split="train", hardness=0.99))
    writer.write_failures(ranked, "embed", "mobilenet", {lost: Failure("ImageError", "no image")})
    result = choose(ranked, round_number=1, budget=34)
    assert result.pool == 34
    assert lost not in batch(ranked)["id"]
    assert result.advice[0].startswith("1 samples of the pool were left out because their images")


def test_labeled_image_with_failed_embedding_is_ignored(ranked):
    import fiftyone as fo

    lost = ranked.add_sample(fo.Sample(filepath="/zz_lost.jpg", split="train", labeled_round=0))
    writer.write_failures(ranked, "embed", "mobilenet", {lost: Failure("ImageError", "no image")})
    assert choose(ranked, round_number=1, budget=5).chosen == 5


def test_labeled_samples_count_as_covered(ranked):
    """A labeled twin of the hardest sample stands for it."""
    choose(ranked, round_number=1, budget=1, seed=3)
    (chosen,) = batch(ranked)["id"]
    ranked.select(chosen).set_values(schema.LABELED_ROUND, [1])
    ids, _ = collection.ids_and_paths(ranked.match({schema.SPLIT: "train"}))
    near = brain_runs.read_vectors(ranked, ids) @ brain_runs.read_vectors(ranked, [chosen])[0]
    result = choose(ranked, round_number=2, budget=5)
    second = batch(ranked, 2)["id"]
    assert result.pool == 33
    assert chosen not in second
    cosines = [near[ids.index(i)] for i in second]
    assert np.mean(cosines) < np.mean(np.delete(near, ids.index(chosen)))


@pytest.mark.parametrize("budget", [0, -3])
def test_zero_budget_raises(ranked, budget):
    with pytest.raises(StageError, match=f"must be at least 1 sample, got {budget}"):
        choose(ranked, round_number=1, budget=budget)


def test_empty_pool_raises(ranked):
    frozen = ranked.match({schema.SPLIT: "test"})
    with pytest.raises(StageError, match="has no unlabeled samples outside validation and test"):
        choose(frozen, round_number=1, budget=5)


def test_view_restricts_choice(ranked):
    view = ranked.match({schema.SPLIT: "train"}).limit(12)
    result = choose(view, round_number=1, budget=4)
    assert result.pool == 12
    assert set(batch(ranked)["id"]) <= set(view.values("id"))


def test_choose_reports_progress_in_three_steps(ranked):
    calls = []
    choose(ranked, round_number=1, budget=4, progress=lambda *at: calls.append(at))
    assert calls == [(1, 3), (2, 3), (3, 3)]
