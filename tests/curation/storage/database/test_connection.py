"""Choice of the database; each case runs in a separate process with a separate home."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from curation.errors import DatabaseError
from curation.settings import Settings
from curation.storage.database import connection, mongod

CONNECT = """
import json, os
from curation.settings import from_environment
from curation.storage.database.connection import connect
connection = connect(from_environment(), dataset=os.environ.get("DATASET"))
print(json.dumps([connection.owner, connection.uri, os.environ.get("FIFTYONE_DATABASE_URI")]))
"""


@pytest.fixture
def home(tmp_path):
    """An empty home of a user."""
    yield tmp_path
    mongod.stop(settings_of(tmp_path))


def settings_of(home):
    return Settings(home=home / ".curation", database_uri=None, tracking_uri="")


def run(code, home, **environment):
    """Run code as that user, and return the last printed line, parsed as JSON."""
    foreign = ("FIFTYONE_", "CURATION_", "PYTEST")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "HOME": str(home), **environment},
        cwd=Path(connection.__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.strip().splitlines()[-1])


def test_new_user_gets_our_database_for_all_commands(home):
    owner, uri, environment = run(CONNECT, home)
    assert (owner, environment) == ("ours", uri)
    assert run(CONNECT, home) == ["ours", uri, uri]
    assert mongod.status(settings_of(home)).uri == uri


def test_address_in_environment_wins(home, database):
    assert run(CONNECT, home, FIFTYONE_DATABASE_URI=database) == ["environment", database, database]
    assert not (home / ".curation").exists()


def test_our_stopped_address_in_environment_is_started(home):
    _, uri, _ = run(CONNECT, home)
    mongod.stop(settings_of(home))
    assert run(CONNECT, home, FIFTYONE_DATABASE_URI=uri) == ["ours", uri, uri]


def test_address_in_fiftyone_configuration_is_used(home, database):
    (home / ".fiftyone").mkdir()
    (home / ".fiftyone" / "config.json").write_text(json.dumps({"database_uri": database}))
    assert run(CONNECT, home)[:2] == ["user's FiftyOne", database]


def test_our_database_is_used_if_it_holds_the_dataset(home):
    _, uri, _ = run(CONNECT, home)
    with mongod.open_client(uri) as client:
        client.fiftyone.datasets.insert_one({"name": "mine"})
    create_fiftyone_database(home)
    assert run(CONNECT, home, DATASET="mine")[:2] == ["ours", uri]
    assert run(CONNECT, home)[:2] == ["ours", uri]


def create_fiftyone_database(home):
    folder = home / ".fiftyone" / "var" / "lib" / "mongo"
    folder.mkdir(parents=True)
    (folder / "WiredTiger").write_text("")


@pytest.mark.slow
def test_datasets_of_plain_fiftyone_user_are_available(home):
    make = (
        "import fiftyone as fo; fo.Dataset('mine', persistent=True)\n"
        + CONNECT
        + "print(json.dumps([connection.owner, fo.list_datasets()]))"
    )
    assert run(make, home) == ["current process", ["mine"]]
    look = (
        CONNECT
        + "import fiftyone as fo\n"
        + "print(json.dumps([connection.owner, fo.list_datasets(), fo.config.do_not_track]))"
    )
    assert run(look, home) == ["user's FiftyOne", ["mine"], True]
    assert not (home / ".curation").exists()


def test_unreachable_server_error_hides_password(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "ANSWER_S", 0.2)
    monkeypatch.setattr(mongod, "ANSWER_S", 0.2)
    with pytest.raises(
        DatabaseError, match=r"No MongoDB answers at mongodb://127\.0\.0\.1:1 "
    ) as e:
        connection._connect_to(settings_of(tmp_path), "mongodb://me:secret@127.0.0.1:1")
    assert "secret" not in str(e.value)


def test_test_session_is_isolated(database, settings):
    import fiftyone as fo

    assert fo.config.database_uri == database
    assert mongod.status(settings).uri == database
