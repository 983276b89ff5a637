"""What a pull finds: by hand, and against any sequence of what servers and networks do."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import LabelingError
from curation.labeling.label_studio import pull_state
from curation.labeling.label_studio.pull_state import Stamp, compare


def at(minute, digest="a"):
    return Stamp(datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(minutes=minute), digest)


def test_each_annotation_is_told_by_what_became_of_it():
    stored = {1: at(0, "same"), 2: at(0, "old"), 3: at(0, "gone")}
    listed = [(1, at(0, "same")), (2, at(5, "edited")), (4, at(6, "fresh"))]
    changes = compare(stored, listed, complete=True)
    assert (changes.new, changes.changed) == ((4,), (2,))
    assert (changes.deleted, changes.unchanged) == ((3,), (1,))
    assert changes.state == dict(listed)


def test_saving_again_without_a_change_is_no_change_but_is_remembered():
    changes = compare({1: at(0)}, [(1, at(9))], complete=True)
    assert (changes.unchanged, changes.changed) == ((1,), ())
    assert changes.state == {1: at(9)}


def test_a_page_that_shows_an_annotation_twice_counts_its_younger_copy_once():
    for listed in ([(1, at(1, "old")), (1, at(2, "new"))], [(1, at(2, "new")), (1, at(1, "old"))]):
        changes = compare({}, listed, complete=True)
        assert changes.new == (1,)
        assert changes.state == {1: at(2, "new")}


def test_a_copy_that_was_read_late_does_not_bring_the_old_answer_back():
    changes = compare({1: at(5, "new")}, [(1, at(3, "old"))], complete=True)
    assert changes.unchanged == (1,)
    assert changes.state == {1: at(5, "new")}


def test_a_pull_that_broke_off_is_repeated_and_what_it_took_can_still_be_deleted():
    begun = compare({1: at(0)}, [(1, at(0)), (2, at(1)), (3, at(1))], complete=True).begun
    changes = compare(begun, [(1, at(0)), (2, at(1))], complete=True)
    assert (changes.changed, changes.deleted) == ((2,), (3,))
    assert changes.state == {1: at(0), 2: at(1)}


def test_a_partial_listing_deletes_nothing():
    changes = compare({1: at(0), 2: at(0)}, [(2, at(0))], complete=False)
    assert changes.deleted == ()
    assert changes.unchanged == (1, 2)
    assert changes.state == {1: at(0), 2: at(0)}


def test_a_deleted_annotation_that_comes_back_is_new():
    gone = compare({1: at(0)}, [], complete=True)
    assert gone.deleted == (1,)
    assert compare(gone.state, [(1, at(0))], complete=True).new == (1,)


ANNOTATION = {
    "id": 7,
    "task": 3,
    "updated_at": "2026-01-01T12:00:00.5Z",
    "completed_by": 2,
    "lead_time": 4.5,
    "was_cancelled": False,
    "result": [{"value": {"x": 1.0, "y": 2.0}}],
}


def test_the_digest_is_of_what_was_decided():
    digest = pull_state.digest(ANNOTATION)
    for changed in (
        {"result": []},
        {"was_cancelled": True},
        {"completed_by": 3},
        {"lead_time": 9.0},
        {"task": 4},
        {"result": [{"value": {"x": 1.0, "y": 2.0000001}}]},
    ):
        assert pull_state.digest(ANNOTATION | changed) != digest
    for same in (
        {"updated_at": "2027-01-01T00:00:00Z"},
        {"completed_by": {"id": 2, "email": "ann@example.org"}},
        {"result": [{"value": {"y": 2.0, "x": 1.0}}]},
        {"ground_truth": True},
    ):
        assert pull_state.digest(ANNOTATION | same) == digest


SAME_TIME = [
    pytest.param("2026-01-01T12:00:00.500000Z", id="all digits"),
    pytest.param("2026-01-01T13:00:00.5+01:00", id="another zone"),
    pytest.param("2026-01-01T12:00:00.5", id="no zone means UTC"),
    pytest.param(datetime(2026, 1, 1, 12, 0, 0, 500000, UTC), id="the SDK's own value"),
]


@pytest.mark.parametrize("written", SAME_TIME)
def test_times_are_times_and_no_texts(written):
    read = pull_state.stamp(ANNOTATION | {"updated_at": written})
    assert read == pull_state.stamp(ANNOTATION)
    whole = pull_state.stamp(ANNOTATION | {"updated_at": "2026-01-01T12:00:00Z"})
    assert whole.updated_at < read.updated_at  # as texts, "0Z" comes after "0.5Z"


@pytest.mark.parametrize("written", [None, "yesterday", 5])
def test_an_annotation_without_a_time_is_refused(written):
    with pytest.raises(LabelingError, match="time of its last change"):
        pull_state.stamp(ANNOTATION | {"updated_at": written})


ids = st.integers(1, 6)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), ids),
        st.tuples(st.just("save again"), ids),
        st.tuples(st.just("delete"), ids),
        st.tuples(st.just("pull"), st.booleans()),  # does it break off at its very end?
        st.tuples(st.just("pull some"), st.sets(ids)),
    ),
    max_size=30,
)


@given(steps)
def test_whatever_happens_every_version_arrives_and_none_twice(steps):
    server, stored, ours = {}, {}, {}
    for minute, (what, which) in enumerate(steps):
        if what == "write":
            server[which] = at(minute, f"{which} at {minute}")
        elif what == "save again" and which in server:
            server[which] = at(minute, server[which].digest)
        elif what == "delete":
            server.pop(which, None)
        elif what == "pull":
            stored = pulled(stored, server, ours, complete=True, breaks_off=which)
        elif what == "pull some":
            some = {one: seen for one, seen in server.items() if one in which}
            stored = pulled(stored, some, ours, complete=False, breaks_off=False)
    pulled(stored, server, ours, complete=True, breaks_off=False)
    assert ours == {one: seen.digest for one, seen in server.items()}


def pulled(stored, listed, ours, *, complete, breaks_off):
    """Take changes over into `ours`; return what is stored after that."""
    changes = compare(stored, [*listed.items(), *listed.items()], complete=complete)
    parts = (changes.new, changes.changed, changes.deleted, changes.unchanged)
    assert sorted(i for part in parts for i in part) == sorted(stored.keys() | listed.keys())
    for one in (*changes.new, *changes.changed):
        assert one not in stored or stored[one].digest != listed[one].digest
        ours[one] = listed[one].digest
    for one in changes.deleted:
        ours.pop(one, None)
    return dict(changes.begun if breaks_off else changes.state)
