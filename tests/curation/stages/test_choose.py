import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from cascade.engine.run import Failure
from curation.errors import StageError
from curation.stages.choose import choose
from curation.stages.score import score
from curation.storage import collection, schema, writer
from curation.storage.embeddings import brain_runs


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
    view = dataset.match_tags(schema.round_tag(number)).sort_by(schema.RANK)
    names = ("id", "tags", schema.RANK, schema.CHOSEN_BECAUSE, schema.SPLIT, schema.HARDNESS)
    return dict(zip(names, view.values(list(names)), strict=True))


def arms(columns):
    return [tag for tags in columns["tags"] for tag in tags if tag.startswith("arm:")]


def test_a_batch_has_the_size_the_random_share_and_an_order(ranked):
    result = choose(ranked, round_number=1, budget=10)
    found = batch(ranked)
    assert (result.pool, result.chosen) == (34, 10)
    assert found[schema.RANK] == list(range(1, 11))
    assert len(arms(found)) == 10
    assert result.arms == {arm: arms(found).count(f"arm:{arm}") for arm in result.arms}
    assert result.arms["random"] == 2  # 15 % of 10, rounded half up
    assert all(sentence.endswith(".") for sentence in found[schema.CHOSEN_BECAUSE])


def test_the_hard_arm_is_of_the_harder_half(ranked):
    choose(ranked, round_number=1, budget=10)
    found = batch(ranked)
    hard = [
        h
        for h, tags in zip(found[schema.HARDNESS], found["tags"], strict=True)
        if "arm:hard" in tags
    ]
    assert len(hard) >= 4
    assert min(hard) >= 0.5
    why = [
        w
        for w, t in zip(found[schema.CHOSEN_BECAUSE], found["tags"], strict=True)
        if "arm:hard" in t
    ]
    assert all(sentence.startswith("Hardness ") for sentence in why)


def test_nothing_of_validation_or_test_is_ever_chosen(ranked):
    result = choose(ranked, round_number=1, budget=70)
    assert result.pool == 34
    assert result.chosen <= 34
    assert set(batch(ranked)[schema.SPLIT]) == {"train"}
    assert any("Only " in one for one in result.advice), "fewer than asked for is said"


@pytest.mark.parametrize("again", [{"budget": 10}, {"budget": 3, "seed": 9}], ids=["same", "other"])
def test_a_round_is_chosen_once(ranked, again):
    first = choose(ranked, round_number=1, budget=10)
    before = batch(ranked)
    assert choose(ranked, round_number=1, **again) == first
    assert batch(ranked) == before


def test_what_comes_back_is_plain_enough_for_the_record(ranked):
    choose(ranked, round_number=1, budget=5)
    again = asdict(choose(ranked, round_number=1, budget=5))
    assert json.loads(json.dumps(again))["arms"] == again["arms"]
    assert isinstance(again["advice"], tuple)


def test_the_same_seed_chooses_the_same(scored):
    found = []
    for seed in (0, 0, 1):
        copy = scored.clone()
        choose(copy, round_number=1, budget=8, seed=seed)
        columns = batch(copy)
        names = [
            Path(path).name for path in copy.select(columns["id"], ordered=True).values("filepath")
        ]
        found.append(names)
        copy.delete()
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_what_another_round_chose_is_never_chosen_again(ranked):
    choose(ranked, round_number=1, budget=8)
    result = choose(ranked, round_number=2, budget=8)
    first, second = batch(ranked, 1), batch(ranked, 2)
    assert result.pool == 34 - 8, "chosen in round 1 and not labeled yet"
    assert set(first["id"]).isdisjoint(second["id"])
    assert len(second["id"]) == result.chosen
    assert all(tags.count("round-01") == 1 for tags in first["tags"]), "and its batch stays"


def test_a_choice_that_was_cut_off_is_made_anew(ranked):
    schema.declare_choice(ranked)
    some = ranked.match({schema.SPLIT: "train"}).limit(3)
    some.tag_samples(["round-01", "arm:hard"])
    some.set_values(schema.RANK, [1, 2, 3])
    result = choose(ranked, round_number=1, budget=6)
    assert len(batch(ranked)["id"]) == result.chosen == 6
    assert batch(ranked)[schema.RANK] == [1, 2, 3, 4, 5, 6]


def test_coverage_alone_needs_no_hardness(predicted):
    result = choose(predicted, round_number=1, budget=10, use_hardness=False)
    assert result.chosen == 10
    assert set(result.arms) == {"coverage", "random"}
    assert (result.boxes, result.hours) == (None, None)


def test_the_cost_is_what_the_members_expect(ranked):
    result = choose(ranked, round_number=1, budget=6)
    expected = ranked.select(batch(ranked)["id"]).values(schema.EXPECTED_BOXES)
    assert result.boxes == pytest.approx(sum(expected), abs=0.06)
    assert result.hours > 0


def test_without_any_hardness_it_says_what_to_run(predicted):
    with pytest.raises(StageError, match=r"No sample of .* has a hardness. Run `curate score"):
        choose(predicted, round_number=1, budget=5)
    assert batch(predicted)["id"] == []


def test_without_embeddings_it_says_what_to_run(scenes):
    with pytest.raises(StageError, match=r"has no embeddings. Run `curate embed"):
        choose(scenes, round_number=1, budget=5, use_hardness=False)


def test_a_sample_that_was_not_embedded_yet_is_named(ranked):
    import fiftyone as fo

    ranked.add_sample(fo.Sample(filepath="/zz_new.jpg", split="train"))
    with pytest.raises(StageError, match="1 of 35 samples have no embedding"):
        choose(ranked, round_number=1, budget=5)


def test_an_image_that_cannot_be_embedded_is_left_out_and_said(ranked):
    import fiftyone as fo

    lost = ranked.add_sample(fo.Sample(filepath="/zz_lost.jpg", split="train", hardness=0.99))
    writer.write_failures(ranked, "embed", "mobilenet", {lost: Failure("ImageError", "no image")})
    result = choose(ranked, round_number=1, budget=34)
    assert result.pool == 34
    assert lost not in batch(ranked)["id"]
    assert result.advice[0].startswith("Left out, because their images could not be embedded: 1 of")


def test_a_labeled_image_that_cannot_be_embedded_stops_nobody(ranked):
    import fiftyone as fo

    lost = ranked.add_sample(fo.Sample(filepath="/zz_lost.jpg", split="train", labeled_round=0))
    writer.write_failures(ranked, "embed", "mobilenet", {lost: Failure("ImageError", "no image")})
    assert choose(ranked, round_number=1, budget=5).chosen == 5


def test_what_is_labeled_is_not_looked_for_again(ranked):
    """A labeled twin of the hardest sample stands for it."""
    choose(ranked, round_number=1, budget=1, seed=3)
    (chosen,) = batch(ranked)["id"]
    ranked.select(chosen).set_values(schema.LABELED_ROUND, [1])
    ids, _ = collection.ids_and_paths(ranked.match({schema.SPLIT: "train"}))
    near = brain_runs.vectors(ranked, ids) @ brain_runs.vectors(ranked, [chosen])[0]
    result = choose(ranked, round_number=2, budget=5)
    second = batch(ranked, 2)["id"]
    assert result.pool == 33
    assert chosen not in second
    cosines = [near[ids.index(one)] for one in second]
    assert np.mean(cosines) < np.mean(np.delete(near, ids.index(chosen)))


@pytest.mark.parametrize("budget", [0, -3])
def test_a_budget_of_nothing_is_refused(ranked, budget):
    with pytest.raises(StageError, match=f"must be at least 1 sample, got {budget}"):
        choose(ranked, round_number=1, budget=budget)


def test_an_empty_pool_is_refused(ranked):
    frozen = ranked.match({schema.SPLIT: "test"})
    with pytest.raises(StageError, match="has no unlabeled sample outside validation and test"):
        choose(frozen, round_number=1, budget=5)


def test_a_view_is_chosen_from_alone(ranked):
    view = ranked.match({schema.SPLIT: "train"}).limit(12)
    result = choose(view, round_number=1, budget=4)
    assert result.pool == 12
    assert set(batch(ranked)["id"]) <= set(view.values("id"))


def test_progress_is_told_in_three_steps(ranked):
    told = []
    choose(ranked, round_number=1, budget=4, progress=lambda *at: told.append(at))
    assert told == [(1, 3), (2, 3), (3, 3)]
