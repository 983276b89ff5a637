"""Our own mongod: real servers in temporary folders."""

import os
import signal
import subprocess
import sys
import time

import pytest

from curation.errors import DatabaseError
from curation.settings import Settings
from curation.storage.database import mongod


@pytest.fixture
def own(tmp_path):
    """Settings with a home of their own; whatever runs there is stopped afterwards."""
    settings = Settings(home=tmp_path / "home", database_uri=None, tracking_uri="")
    yield settings
    mongod.stop(settings)


def test_it_starts_on_demand_and_stops_when_asked(own):
    assert mongod.status(own).uri is None
    uri = mongod.start(own)
    status = mongod.status(own)
    assert (status.uri, status.folder) == (uri, own.database_folder)
    assert mongod.start(own) == uri
    assert mongod.status(own).pid == status.pid
    assert mongod.stop(own)
    assert not mongod.stop(own)
    assert mongod.status(own).uri is None


def test_it_listens_on_loopback_only_and_on_no_socket_file(own):
    with mongod.client_of(mongod.start(own)) as client:
        net = client.admin.command("getCmdLineOpts")["parsed"]["net"]
    assert net["bindIp"] == "127.0.0.1"
    assert net["unixDomainSocket"] == {"enabled": False}


def test_data_survives_a_stop_on_the_same_port(own):
    uri = mongod.start(own)
    with mongod.client_of(uri) as client:
        client.x.y.insert_one({"a": 1})
    mongod.stop(own)
    assert mongod.start(own) == uri
    with mongod.client_of(uri) as client:
        assert client.x.y.find_one()["a"] == 1


def test_after_kill_9_it_recovers_on_the_same_port(own):
    uri = mongod.start(own)
    with mongod.client_of(uri) as client:
        client.x.y.with_options(write_concern=_journaled()).insert_one({"a": 1})
    kill(mongod.status(own).pid, uri)
    assert mongod.status(own).uri is None
    assert mongod.start(own) == uri
    with mongod.client_of(uri) as client:
        assert client.x.y.find_one()["a"] == 1


def _journaled():
    from pymongo import WriteConcern

    return WriteConcern(j=True)


def kill(pid, uri):
    os.kill(pid, signal.SIGKILL)
    port = int(uri.rpartition(":")[2])
    ends = time.monotonic() + 10
    while mongod._accepts(port) and time.monotonic() < ends:
        time.sleep(0.05)


def test_a_taken_port_is_left_to_its_owner(own, tmp_path):
    other = Settings(home=tmp_path / "other", database_uri=None, tracking_uri="")
    taken = mongod.start(other)
    own.database_folder.mkdir(parents=True)
    mongod.record_port(own.database_folder, int(taken.rpartition(":")[2]))
    try:
        assert mongod.status(own).uri is None  # somebody else's mongod is not taken for ours
        assert mongod.start(own) != taken
    finally:
        mongod.stop(other)


def test_a_damaged_record_is_replaced(own):
    mongod.start(own)
    mongod.stop(own)
    (own.database_folder / "mongod.json").write_text("{")
    assert mongod.start(own).startswith("mongodb://127.0.0.1:")


def test_a_lost_record_names_the_process_that_is_in_the_way(own):
    mongod.start(own)
    record = own.database_folder / "mongod.json"
    kept, pid = record.read_text(), mongod.status(own).pid
    record.unlink()
    with pytest.raises(DatabaseError, match=rf"Another mongod \(process {pid}\).*kill {pid}"):
        mongod.start(own)
    record.write_text(kept)


def test_two_commands_at_once_share_one(own):
    code = (
        "import sys; from pathlib import Path\n"
        "from curation import mongod\n"
        "from curation.settings import Settings\n"
        "print(mongod.start(Settings(Path(sys.argv[1]), None, '')))"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(own.home)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    uris = {one.communicate(timeout=60)[0].strip() for one in both}
    assert uris == {mongod.status(own).uri}


def test_a_home_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    blocked = Settings(home=tmp_path / "file" / "home", database_uri=None, tracking_uri="")
    with pytest.raises(DatabaseError, match=r"cannot be written to .*set CURATION_HOME") as caught:
        mongod.start(blocked)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line(own, monkeypatch):
    monkeypatch.setattr(mongod, "LEAST_FREE_BYTES", 1 << 62)
    with pytest.raises(DatabaseError, match="MB free; the database needs at least"):
        mongod.start(own)


def test_a_mongod_that_gives_up_tells_its_last_words(own):
    own.database_folder.mkdir(parents=True)
    (own.database_folder / "WiredTiger").mkdir()  # a folder where a file should be
    with pytest.raises(DatabaseError, match=r"mongod did not start \(exit code \d+: .+\)"):
        mongod.start(own)


def test_without_any_mongod_it_says_what_to_do(monkeypatch):
    class Spec:
        submodule_search_locations = ("/nowhere",)

    monkeypatch.setattr(mongod.importlib.util, "find_spec", lambda name: Spec)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DatabaseError, match=r"No mongod came with FiftyOne.*FIFTYONE_DATABASE_URI"):
        mongod.find_mongod()


def test_without_fiftyone_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(mongod.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatabaseError, match="pip install fiftyone"):
        mongod.find_mongod()


def test_a_mongod_that_may_not_be_executed_is_named(tmp_path, monkeypatch):
    binary = tmp_path / "db" / "bin" / "mongod"
    binary.parent.mkdir(parents=True)
    binary.write_text("")
    binary.chmod(0o600)

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(mongod.importlib.util, "find_spec", lambda name: Spec)
    with pytest.raises(DatabaseError, match=r"may not be executed.*chmod"):
        mongod.find_mongod()
