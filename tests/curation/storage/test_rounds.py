import json
import os
import stat

import pytest

from curation.errors import StageError
from curation.settings import Settings
from curation.storage import rounds


@pytest.fixture
def first(tmp_path):
    return rounds.get_round(tmp_path, "demo", 1)


def test_a_round_has_its_folder_and_its_tag(tmp_path):
    one = rounds.get_round(tmp_path, "demo", 3)
    assert one.folder == tmp_path / "datasets" / "demo" / "rounds" / "round-03"
    assert one.tag == "round-03"


def test_rounds_count_from_one(tmp_path):
    with pytest.raises(StageError, match="count from 1, got 0"):
        rounds.get_round(tmp_path, "demo", 0)


def test_a_stage_is_done_once_and_its_summary_stays(first):
    assert first.run_once("predict", lambda: {"ran": 3})
    assert not first.run_once("predict", lambda: {"ran": 4})
    assert first.record()["stages"]["predict"]["summary"] == {"ran": 3}


def test_a_stage_that_fails_is_not_on_record(first):
    with pytest.raises(ZeroDivisionError):
        first.run_once("predict", lambda: {"ran": 1 // 0})
    assert not first.is_done("predict")


def test_what_a_stage_notes_while_it_works_survives(first):
    def work():
        first.note(ensemble_after="abc")
        return {}

    first.run_once("train", work)
    assert first.record()["ensemble_after"] == "abc"


def test_begin_keeps_the_first_facts(first):
    first.begin(manifest="tiny")
    first.begin(manifest="other")
    assert first.record()["manifest"] == "tiny"


def test_a_record_of_another_dataset_of_the_same_name_is_refused(first):
    first.require_dataset("one")  # nothing is on record yet
    first.begin(dataset_id="one")
    first.require_dataset("one")
    with pytest.raises(StageError, match="another dataset that had this name"):
        first.require_dataset("two")


def test_a_damaged_record_is_an_error_that_names_the_file(first):
    first.write(rounds.RECORD, {"round": 1, "stages": {}})
    (first.folder / rounds.RECORD).write_text('{"round": ')
    with pytest.raises(StageError, match=r"record.json cannot be read"):
        first.record()


def test_files_are_replaced_whole(first):
    first.write(rounds.VERDICT, {"outcome": "keep"})
    first.write(rounds.VERDICT, {"outcome": "promote"})
    assert json.loads((first.folder / rounds.VERDICT).read_text()) == {"outcome": "promote"}
    assert [path.name for path in first.folder.iterdir()] == [rounds.VERDICT]


def test_finished_stops_at_the_first_gap(tmp_path):
    for number in (1, 3):
        rounds.get_round(tmp_path, "demo", number).run_once("report", dict)
    assert [one.number for one in rounds.finished_rounds(tmp_path, "demo")] == [1]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_honour_the_umask(first, umask, mode):
    before = os.umask(umask)
    try:
        first.write(rounds.RECORD, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((first.folder / rounds.RECORD).stat().st_mode) == mode


def test_what_is_no_json_leaves_the_old_file_and_nothing_else(first):
    first.write(rounds.VERDICT, {"outcome": "keep"})
    with pytest.raises(TypeError, match="not JSON serializable"):
        first.write(rounds.VERDICT, {"outcome": object()})
    assert first.read(rounds.VERDICT) == {"outcome": "keep"}
    assert [path.name for path in first.folder.iterdir()] == [rounds.VERDICT]


def test_a_round_lies_beside_the_other_files_of_its_dataset(tmp_path):
    """A name may hold what a path may not."""
    settings = Settings(tmp_path, database_uri=None, tracking_uri="")
    for name in ("my photos/2026", "../../elsewhere", ".."):
        folder = rounds.get_round(tmp_path, name, 1).folder
        assert folder.parents[2] == settings.dataset_folder(name)
        assert folder.parents[3] == tmp_path / "datasets"
