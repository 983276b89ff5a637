"""Changes found by a pull, for known cases and for any sequence of server events."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import LabelingError
from curation.labeling.label_studio import pull_state
from curation.labeling.label_studio.pull_state import Stamp, compare


def at(minute, digest="a"):
    return Stamp(datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(minutes=minute), digest)


def test_new_changed_deleted_and_unchanged_annotations_are_distinguished():
    stored = {1: at(0, "same"), 2: at(0, "old"), 3: at(0, "gone")}
    listed = [(1, at(0, "same")), (2, at(5, "edited")), (4, at(6, "fresh"))]
    changes = compare(stored, listed)
    assert (changes.new, changes.changed) == ((4,), (2,))
    assert (changes.deleted, changes.unchanged) == ((3,), (1,))
    assert changes.state == dict(listed)


def test_saving_without_change_is_unchanged_but_stored():
    changes = compare({1: at(0)}, [(1, at(9))])
    assert (changes.unchanged, changes.changed) == ((1,), ())
    assert changes.state == {1: at(9)}


def test_newer_copy_of_repeated_annotation_is_used():
    for listed in ([(1, at(1, "old")), (1, at(2, "new"))], [(1, at(2, "new")), (1, at(1, "old"))]):
        changes = compare({}, listed)
        assert changes.new == (1,)
        assert changes.state == {1: at(2, "new")}


def test_older_copy_does_not_replace_stored_one():
    changes = compare({1: at(5, "new")}, [(1, at(3, "old"))])
    assert changes.unchanged == (1,)
    assert changes.state == {1: at(5, "new")}


def test_interrupted_import_is_repeated_and_its_deletions_found():
    begun = compare({1: at(0)}, [(1, at(0)), (2, at(1)), (3, at(1))]).begun
    changes = compare(begun, [(1, at(0)), (2, at(1))])
    assert (changes.changed, changes.deleted) == ((2,), (3,))
    assert changes.state == {1: at(0), 2: at(1)}


def test_restored_annotation_is_new():
    gone = compare({1: at(0)}, [])
    assert gone.deleted == (1,)
    assert compare(gone.state, [(1, at(0))]).new == (1,)


ANNOTATION = {
    "id": 7,
    "task": 3,
    "updated_at": "2026-01-01T12:00:00.5Z",
    "completed_by": 2,
    "lead_time": 4.5,
    "was_cancelled": False,
    "result": [{"value": {"x": 1.0, "y": 2.0}}],
}


def test_digest_depends_on_decision_only():
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
def test_times_are_compared_as_times(written):
    read = pull_state.stamp(ANNOTATION | {"updated_at": written})
    assert read == pull_state.stamp(ANNOTATION)
    earlier = pull_state.stamp(ANNOTATION | {"updated_at": "2026-01-01T12:00:00Z"})
    assert earlier.updated_at < read.updated_at  # as text, "0Z" sorts after "0.5Z"


@pytest.mark.parametrize("written", [None, "yesterday", 5])
def test_annotation_without_time_is_rejected(written):
    with pytest.raises(LabelingError, match="valid time of its last change"):
        pull_state.stamp(ANNOTATION | {"updated_at": written})


ids = st.integers(1, 6)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), ids),
        st.tuples(st.just("save again"), ids),
        st.tuples(st.just("delete"), ids),
        st.tuples(st.just("pull"), st.booleans()),  # is it interrupted at its end?
        st.tuples(st.just("pull some"), st.sets(ids)),
    ),
    max_size=30,
)


@given(steps)
def test_every_version_arrives_once_for_any_sequence(steps):
    server, stored, ours = {}, {}, {}
    for minute, (action, argument) in enumerate(steps):
        if action == "write":
            server[argument] = at(minute, f"{argument} at {minute}")
        elif action == "save again" and argument in server:
            server[argument] = at(minute, server[argument].digest)
        elif action == "delete":
            server.pop(argument, None)
        elif action == "pull":
            stored = pull(stored, server, ours, interrupted=argument)
        elif action == "pull some":
            listed = {key: stamp for key, stamp in server.items() if key in argument}
            compared = {key: stamp for key, stamp in stored.items() if key in listed}
            stored = stored | pull(compared, listed, ours, interrupted=False)
    pull(stored, server, ours, interrupted=False)
    assert ours == {key: stamp.digest for key, stamp in server.items()}


def pull(stored, listed, ours, *, interrupted):
    """Import changes into `ours`; return the stored state after that."""
    changes = compare(stored, [*listed.items(), *listed.items()])
    parts = (changes.new, changes.changed, changes.deleted, changes.unchanged)
    assert sorted(i for part in parts for i in part) == sorted(stored.keys() | listed.keys())
    for key in (*changes.new, *changes.changed):
        assert key not in stored or stored[key].digest != listed[key].digest
        ours[key] = listed[key].digest
    for key in changes.deleted:
        ours.pop(key, None)
    return dict(changes.begun if interrupted else changes.state)
