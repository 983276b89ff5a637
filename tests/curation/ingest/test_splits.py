"""Splits by hand, and what must hold of every split."""

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
    assert splits.leaking(groups, given_splits) == expected


def test_leaking_groups_go_to_train_else_val_and_the_rest_stays():
    groups = ["a", "a", "b", "b", "c"]
    given_splits = ["test", "train", "test", "val", "test"]
    assert splits.merged(groups, given_splits) == ["train", "train", "val", "val", "test"]


def test_a_split_by_hand():
    # 10 images; 7, 1.5 and 1.5 are wanted. The five of "a" go to train, which then lacks 2, and
    # so do the three of "b"; val and test lack most then, and get "c" and "d".
    found = splits.assigned(list("aaaaabbbcd"), (0.7, 0.15, 0.15))
    assert found[:8] == ["train"] * 8
    assert sorted(found[8:]) == ["test", "val"]


groups_of_images = st.lists(st.sampled_from("abcdefghijklmnop"), max_size=60)


@given(groups=groups_of_images, seed=st.integers(0, 5))
def test_every_split_keeps_groups_together_and_is_repeatable(groups, seed):
    first = splits.assigned(groups, (0.6, 0.2, 0.2), seed=seed)
    assert splits.leaking(groups, first) == {}
    assert splits.assigned(groups, (0.6, 0.2, 0.2), seed=seed) == first


@given(groups=groups_of_images, given_splits=st.data())
def test_merging_leaves_no_leak(groups, given_splits):
    drawn = [given_splits.draw(st.sampled_from(["train", "val", "test"])) for _ in groups]
    assert splits.leaking(groups, splits.merged(groups, drawn)) == {}


def test_many_small_groups_meet_the_shares():
    counts = Counter(splits.assigned([str(i) for i in range(200)], (0.7, 0.15, 0.15)))
    assert counts == {"train": 140, "val": 30, "test": 30}


def test_another_seed_is_another_split():
    groups = [str(i) for i in range(50)]
    assert splits.assigned(groups, (0.5, 0.5, 0), seed=0) != splits.assigned(
        groups, (0.5, 0.5, 0), seed=1
    )


def test_groups_that_have_a_split_keep_it():
    assert splits.kept(["a", "b"], ["train", "val"], {"b": "test"}) == ["train", "test"]


@pytest.mark.parametrize(
    "shares", [(0.7, 0.3), (0.7, 0.2, 0.2), (1.2, -0.1, -0.1)], ids=["two", "over 1", "negative"]
)
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(IngestError, match="3 numbers that sum to 1"):
        splits.assigned(["a"], shares)
