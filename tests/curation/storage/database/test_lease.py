import os
import subprocess
import sys
import threading
import time

import pytest

from curation.storage.database import lease, mongod
from curation.storage.database.lease import LeaseError, held, holder


@pytest.fixture
def mongo(database):
    with mongod.client_of(database) as client:
        yield client.leases
        client.drop_database("leases")


def test_one_at_a_time_and_the_other_is_told_who(mongo):
    with held(mongo, "nightly", who="Ada"):
        assert holder(mongo, "nightly").who == "Ada"
        with (
            pytest.raises(LeaseError, match=r"Ada holds the lease 'nightly' since 20\d\d-"),
            held(mongo, "nightly", who="Bob"),
        ):
            pass
        with held(mongo, "another", who="Bob"):
            pass
    assert holder(mongo, "nightly") is None
    with held(mongo, "nightly", who="Bob"):
        assert holder(mongo, "nightly").who == "Bob"


def test_the_token_only_grows(mongo):
    tokens = []
    for who in "abc":
        with held(mongo, "nightly", who=who) as mine:
            tokens.append(mine.token)
    assert tokens == [1, 2, 3]


def test_what_ran_out_is_free_and_its_holder_is_told(mongo):
    with held(mongo, "nightly", who="Ada", seconds=0.05) as first:
        time.sleep(0.1)
        assert holder(mongo, "nightly") is None
        with held(mongo, "nightly", who="Bob") as second:
            with pytest.raises(LeaseError, match="ran out and was taken over"):
                first.renew()
            first.release()  # does nothing to Bob's
            assert holder(mongo, "nightly").who == "Bob"
            assert second.token > first.token


def test_renewing_prolongs(mongo):
    with held(mongo, "nightly", who="Ada", seconds=0.5) as mine:
        before = holder(mongo, "nightly").expires
        time.sleep(0.05)
        mine.renew()
        assert holder(mongo, "nightly").expires > before


def test_one_who_waits_gets_it_when_it_is_free(mongo):
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with held(mongo, "nightly", who="Ada"):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(10)
    threading.Timer(0.2, leave.set).start()
    with held(mongo, "nightly", who="Bob", wait_s=10) as mine:
        assert mine.token == 2
    thread.join()


def test_the_dead_of_this_machine_hold_nothing(mongo):
    """Killed, and not yet out of time: nobody waits for it."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with held(mongo, "nightly", who="Ada", seconds=600):
        owner = f"{lease._place()} {dead.pid} x"
        mongo[lease.COLLECTION].update_one({}, {"$set": {"owner": owner}})
        with held(mongo, "nightly", who="Bob") as mine:
            assert mine.token == 2


@pytest.mark.parametrize(
    "owner",
    [
        pytest.param(f"elsewhere {os.getpid()} x", id="another machine"),
        pytest.param(f"{lease._place()} {os.getppid()} x", id="a process that lives"),
    ],
)
def test_others_are_waited_for(mongo, owner):
    with held(mongo, "nightly", who="Ada", seconds=600):
        mongo[lease.COLLECTION].update_one({}, {"$set": {"owner": owner}})
        with pytest.raises(LeaseError, match="Ada holds"), held(mongo, "nightly", who="Bob"):
            pass


def test_of_many_at_once_one_wins(mongo):
    won, lost = [], []

    def attempt(who):
        try:
            with held(mongo, "nightly", who=who, seconds=60):
                won.append(who)
                time.sleep(0.5)
        except LeaseError:
            lost.append(who)

    threads = [threading.Thread(target=attempt, args=(f"{i}",)) for i in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (len(won), len(lost)) == (1, 7)


def test_a_machine_of_the_same_name_is_another_one(monkeypatch):
    here = lease._place()
    monkeypatch.setattr(lease.Path, "read_text", lambda *_, **__: "another-boot")
    assert lease._place() != here
    assert not lease._is_dead(f"{here} 999999999 x")


def test_where_no_machine_can_be_told_nobody_is_thought_dead(monkeypatch):
    def absent(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(lease.Path, "read_text", absent)
    assert not lease._is_dead(f"{lease._place()} 999999999 x")
