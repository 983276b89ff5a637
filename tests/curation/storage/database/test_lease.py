import os
import subprocess
import sys
import threading
import time

import pytest

from curation.storage.database import lease, mongod
from curation.storage.database.lease import COLLECTION, LeaseError, hold


@pytest.fixture
def mongo(database):
    with mongod.open_client(database) as client:
        yield client.leases
        client.drop_database("leases")


def active(mongo, name):
    """Return the document of a lease that is held now, or None."""
    return mongo[COLLECTION].find_one(
        {"_id": name, "owner": {"$ne": ""}, "$expr": {"$gt": ["$expires", "$$NOW"]}}
    )


def test_held_lease_rejects_others_and_names_holder(mongo):
    with hold(mongo, "nightly", holder="Ada"):
        assert active(mongo, "nightly")["who"] == "Ada"
        with (
            pytest.raises(LeaseError, match=r"Ada holds the lease 'nightly' since 20\d\d-"),
            hold(mongo, "nightly", holder="Bob"),
        ):
            pass
        with hold(mongo, "another", holder="Bob"):
            pass
    assert active(mongo, "nightly") is None
    with hold(mongo, "nightly", holder="Bob"):
        assert active(mongo, "nightly")["who"] == "Bob"


def test_token_grows_with_each_holder(mongo):
    tokens = []
    for name in "abc":
        with hold(mongo, "nightly", holder=name) as mine:
            tokens.append(mine.token)
    assert tokens == [1, 2, 3]


def test_expired_lease_is_free_and_rejects_renewal(mongo):
    with hold(mongo, "nightly", holder="Ada", seconds=0.05) as first:
        time.sleep(0.1)
        assert active(mongo, "nightly") is None
        with hold(mongo, "nightly", holder="Bob") as second:
            with pytest.raises(LeaseError, match="expired and was taken over"):
                first.renew()
            first.release()  # keeps Bob's
            assert active(mongo, "nightly")["who"] == "Bob"
            assert second.token > first.token


def test_renewal_extends_lease(mongo):
    with hold(mongo, "nightly", holder="Ada", seconds=0.5) as mine:
        before = active(mongo, "nightly")["expires"]
        time.sleep(0.05)
        mine.renew()
        assert active(mongo, "nightly")["expires"] > before


def test_waiting_holder_gets_released_lease(mongo):
    entered, leave = threading.Event(), threading.Event()

    def hold_until_leave():
        with hold(mongo, "nightly", holder="Ada"):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=hold_until_leave)
    thread.start()
    entered.wait(10)
    threading.Timer(0.2, leave.set).start()
    with hold(mongo, "nightly", holder="Bob", wait_s=10) as mine:
        assert mine.token == 2
    thread.join()


def test_dead_process_of_this_machine_frees_lease(mongo):
    """The lease is free before it expires."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with hold(mongo, "nightly", holder="Ada", seconds=600):
        owner = f"{lease._machine()} {dead.pid} x"
        mongo[COLLECTION].update_one({}, {"$set": {"owner": owner}})
        with hold(mongo, "nightly", holder="Bob") as mine:
            assert mine.token == 2


@pytest.mark.parametrize(
    "owner",
    [
        pytest.param(f"elsewhere {os.getpid()} x", id="another machine"),
        pytest.param(f"{lease._machine()} {os.getppid()} x", id="a living process"),
    ],
)
def test_lease_of_unknown_or_living_process_stays_held(mongo, owner):
    with hold(mongo, "nightly", holder="Ada", seconds=600):
        mongo[COLLECTION].update_one({}, {"$set": {"owner": owner}})
        with pytest.raises(LeaseError, match="Ada holds"), hold(mongo, "nightly", holder="Bob"):
            pass


def test_one_of_many_concurrent_holders_wins(mongo):
    won, lost = [], []

    def attempt(name):
        try:
            with hold(mongo, "nightly", holder=name, seconds=60):
                won.append(name)
                time.sleep(0.5)
        except LeaseError:
            lost.append(name)

    threads = [threading.Thread(target=attempt, args=(f"{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)


def test_machines_of_equal_name_differ(monkeypatch):
    machine = lease._machine()
    monkeypatch.setattr(lease.Path, "read_text", lambda *_, **__: "another-boot")
    assert lease._machine() != machine
    assert not lease._is_dead(f"{machine} 999999999 x")


def test_owner_counts_as_alive_without_machine_id(monkeypatch):
    def absent(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(lease.Path, "read_text", absent)
    assert not lease._is_dead(f"{lease._machine()} 999999999 x")
