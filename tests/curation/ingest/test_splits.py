"""Splits of small examples, and properties of every split."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import IngestError
from curation.ingest import splits

LEAKS = [
    pytest.param("aabb", ["train", "train", "val", "val"], {}, id="whole groups do not leak"),
    pytest.param(
        "aab", ["train", "test", "val"], {"a": ("train", "test")}, id="a group in two splits leaks"
    ),
    pytest.param("", [], {}, id="no images, no leaks"),
]


@pytest.mark.parametrize(("groups", "given_splits", "expected"), LEAKS)
def test_leaking_groups_are_found(groups, given_splits, expected):
    assert splits.find_leaks(groups, given_splits) == expected


def test_leaking_groups_move_to_train_else_val():
    groups = ["a", "a", "b", "b", "c"]
    given_splits = ["test", "train", "test", "val", "test"]
    assert splits.merge_leaks(groups, given_splits) == ["train", "train", "val", "val", "test"]


def test_largest_groups_go_to_largest_deficit():
    # Of 10 images, 7, 1.5 and 1.5 are wanted. The five of "a" go to train, which then lacks 2, and
    # the three of "b" follow; val and test then have the largest deficits, and get "c" and "d".
    split = splits.assign_splits(list("aaaaabbbcd"), (0.7, 0.15, 0.15))
    assert split[:8] == ["train"] * 8
    assert sorted(split[8:]) == ["test", "val"]


groups_of_images = st.lists(st.sampled_from("abcdefghijklmnop"), max_size=60)


@given(groups=groups_of_images, seed=st.integers(0, 5))
def test_split_keeps_groups_together_and_is_repeatable(groups, seed):
    first = splits.assign_splits(groups, (0.6, 0.2, 0.2), seed=seed)
    assert splits.find_leaks(groups, first) == {}
    assert splits.assign_splits(groups, (0.6, 0.2, 0.2), seed=seed) == first


@given(groups=groups_of_images, given_splits=st.data())
def test_merging_leaves_no_leaks(groups, given_splits):
    drawn = [given_splits.draw(st.sampled_from(["train", "val", "test"])) for _ in groups]
    assert splits.find_leaks(groups, splits.merge_leaks(groups, drawn)) == {}


def test_many_small_groups_meet_the_shares():
    counts = Counter(splits.assign_splits([str(i) for i in range(200)], (0.7, 0.15, 0.15)))
    assert counts == {"train": 140, "val": 30, "test": 30}


def test_other_seed_gives_other_split():
    groups = [str(i) for i in range(50)]
    assert splits.assign_splits(groups, (0.5, 0.5, 0), seed=0) != splits.assign_splits(
        groups, (0.5, 0.5, 0), seed=1
    )


def test_existing_groups_keep_their_split():
    assert splits.keep_existing(["a", "b"], ["train", "val"], {"b": "test"}) == ["train", "test"]


@pytest.mark.parametrize(
    "shares", [(0.7, 0.3), (0.7, 0.2, 0.2), (1.2, -0.1, -0.1)], ids=["two", "over 1", "negative"]
)
def test_invalid_shares_are_rejected(shares):
    with pytest.raises(IngestError, match="3 numbers that sum to 1"):
        splits.assign_splits(["a"], shares)
