"""Which database a process works in; each case in a process of its own, with a home of its own."""

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
from curation import database
from curation.settings import from_environment
found = database.connect(from_environment(), dataset=os.environ.get("DATASET"))
print(json.dumps([found.owner, found.uri, os.environ.get("FIFTYONE_DATABASE_URI")]))
"""


@pytest.fixture
def home(tmp_path):
    """A user's home, with nothing in it yet."""
    yield tmp_path
    mongod.stop(settings_of(tmp_path))


def settings_of(home):
    return Settings(home=home / ".curation", database_uri=None, tracking_uri="")


def run(code, home, **environment):
    """Run code as that user, and return what it prints last, as JSON."""
    foreign = ("FIFTYONE_", "CURATION_", "PYTEST")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "HOME": str(home), **environment},
        cwd=Path(connection.__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_a_new_user_gets_ours_and_every_command_shares_it(home):
    owner, uri, told = run(CONNECT, home)
    assert (owner, told) == ("ours", uri)
    assert run(CONNECT, home) == ["ours", uri, uri]
    assert mongod.status(settings_of(home)).uri == uri


def test_an_address_in_the_environment_wins(home, database):
    assert run(CONNECT, home, FIFTYONE_DATABASE_URI=database) == ["environment", database, database]
    assert not (home / ".curation").exists()


def test_our_own_address_in_the_environment_is_started_when_it_stopped(home):
    _, uri, _ = run(CONNECT, home)
    mongod.stop(settings_of(home))
    assert run(CONNECT, home, FIFTYONE_DATABASE_URI=uri) == ["ours", uri, uri]


def test_the_address_in_fiftyones_configuration_is_the_users(home, database):
    (home / ".fiftyone").mkdir()
    (home / ".fiftyone" / "config.json").write_text(json.dumps({"database_uri": database}))
    assert run(CONNECT, home)[:2] == ["user's FiftyOne", database]


def test_ours_stays_when_it_holds_the_dataset(home):
    _, uri, _ = run(CONNECT, home)
    with mongod.client_of(uri) as client:
        client.fiftyone.datasets.insert_one({"name": "mine"})
    pretend_fiftyone_was_used(home)
    assert run(CONNECT, home, DATASET="mine")[:2] == ["ours", uri]
    assert run(CONNECT, home)[:2] == ["ours", uri]


def pretend_fiftyone_was_used(home):
    folder = home / ".fiftyone" / "var" / "lib" / "mongo"
    folder.mkdir(parents=True)
    (folder / "WiredTiger").write_text("")


@pytest.mark.slow
def test_the_datasets_of_a_plain_fiftyone_user_are_found(home):
    make = (
        "import fiftyone as fo; fo.Dataset('mine', persistent=True)\n"
        + CONNECT
        + "print(json.dumps([found.owner, fo.list_datasets()]))"
    )
    assert run(make, home) == ["current process", ["mine"]]
    look = (
        CONNECT
        + "import fiftyone as fo\n"
        + "print(json.dumps([found.owner, fo.list_datasets(), fo.config.do_not_track]))"
    )
    assert run(look, home) == ["user's FiftyOne", ["mine"], True]
    assert not (home / ".curation").exists()


def test_a_server_that_does_not_answer_is_one_line_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "ANSWER_S", 0.2)
    monkeypatch.setattr(mongod, "ANSWER_S", 0.2)
    with pytest.raises(
        DatabaseError, match=r"No MongoDB answers at mongodb://127\.0\.0\.1:1 "
    ) as e:
        connection._given(settings_of(tmp_path), "mongodb://me:secret@127.0.0.1:1")
    assert "secret" not in str(e.value)


def test_this_session_is_isolated(database, settings):
    import fiftyone as fo

    assert fo.config.database_uri == database
    assert mongod.status(settings).uri == database
