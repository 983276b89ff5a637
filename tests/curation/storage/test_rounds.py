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


def test_round_has_folder_and_tag(tmp_path):
    third = rounds.get_round(tmp_path, "demo", 3)
    assert third.folder == tmp_path / "datasets" / "demo" / "rounds" / "round-03"
    assert third.tag == "round-03"


def test_rounds_count_from_one(tmp_path):
    with pytest.raises(StageError, match="count from 1, got 0"):
        rounds.get_round(tmp_path, "demo", 0)


def test_stage_runs_once(first):
    assert first.run_once("predict", lambda: {"ran": 3})
    assert not first.run_once("predict", lambda: {"ran": 4})
    assert first.record()["stages"]["predict"]["summary"] == {"ran": 3}


def test_failed_stage_is_not_recorded(first):
    with pytest.raises(ZeroDivisionError):
        first.run_once("predict", lambda: {"ran": 1 // 0})
    assert not first.is_done("predict")


def test_facts_noted_during_stage_stay(first):
    def run():
        first.note(ensemble_after="abc")
        return {}

    first.run_once("train", run)
    assert first.record()["ensemble_after"] == "abc"


def test_begin_keeps_first_facts(first):
    first.begin(manifest="tiny")
    first.begin(manifest="other")
    assert first.record()["manifest"] == "tiny"


def test_record_of_other_dataset_is_refused(first):
    first.require_dataset("one")  # without a record
    first.begin(dataset_id="one")
    first.require_dataset("one")
    with pytest.raises(StageError, match="another dataset with this name"):
        first.require_dataset("two")


def test_damaged_record_is_refused(first):
    first.write(rounds.RECORD, {"round": 1, "stages": {}})
    (first.folder / rounds.RECORD).write_text('{"round": ')
    with pytest.raises(StageError, match=r"Cannot read .*record.json"):
        first.record()


def test_write_replaces_file(first):
    first.write(rounds.VERDICT, {"outcome": "keep"})
    first.write(rounds.VERDICT, {"outcome": "promote"})
    assert json.loads((first.folder / rounds.VERDICT).read_text()) == {"outcome": "promote"}
    assert [path.name for path in first.folder.iterdir()] == [rounds.VERDICT]


def test_finished_rounds_stop_at_first_gap(tmp_path):
    for number in (1, 3):
        rounds.get_round(tmp_path, "demo", number).run_once("report", dict)
    assert [round_.number for round_ in rounds.finished_rounds(tmp_path, "demo")] == [1]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_respect_umask(first, umask, mode):
    before = os.umask(umask)
    try:
        first.write(rounds.RECORD, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((first.folder / rounds.RECORD).stat().st_mode) == mode


def test_invalid_content_keeps_earlier_file(first):
    first.write(rounds.VERDICT, {"outcome": "keep"})
    with pytest.raises(TypeError, match="not JSON serializable"):
        first.write(rounds.VERDICT, {"outcome": object()})
    assert first.read(rounds.VERDICT) == {"outcome": "keep"}
    assert [path.name for path in first.folder.iterdir()] == [rounds.VERDICT]


def test_round_folder_is_in_dataset_folder(tmp_path):
    """Names may contain characters that are special in paths."""
    settings = Settings(tmp_path, database_uri=None, tracking_uri="")
    for name in ("my photos/2026", "../../elsewhere", ".."):
        folder = rounds.get_round(tmp_path, name, 1).folder
        assert folder.parents[1] == settings.dataset_folder(name)
        assert folder.parents[2] == tmp_path / "datasets"
