"""A week of nights, by a clock that the test moves."""

import os
import signal
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from curation.jobs import scheduler
from curation.jobs.scheduler import Scheduler

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def week(store, database, clock, make_job, launchers):
    """Return what became of a week around the beginning of summer time, and who did what.

    The night of Friday is quiet. On Saturday the process is killed in the middle. On Sunday the
    clocks jump over the time that it is due. On Monday two schedulers begin together. Tuesday's
    run takes 26 hours, into the night of Wednesday. On Thursday nobody watches until noon.
    """
    store.add(make_job(cron="30 2 * * *", zone="Europe/Berlin"))
    done = []

    def local():
        return clock().astimezone(BERLIN)

    def work(context):
        night = context.run.due.astimezone(BERLIN)
        if night.weekday() == 1:  # Tuesday's
            for _ in range(26 * 2):
                clock.forward(minutes=30)
                second.tick()  # the other scheduler is awake all the while
        if night.weekday() == 0:  # Monday's
            second.tick()  # both begin together
        done.append(f"{night:%a}")
        return {"night": f"{night:%a}"}

    def dies(context):
        os.kill(os.getpid(), signal.SIGKILL)

    here = launchers["here"](work, store, clock)
    dying = launchers["child"](dies, database, clock)
    first, second = Scheduler(store, here, clock=clock), Scheduler(store, here, clock=clock)
    crashing = Scheduler(store, dying, clock=clock)
    while local() < datetime(2027, 4, 2, 12, 30, tzinfo=BERLIN):
        clock.forward(minutes=10)
        if local().strftime("%a %H:%M") == "Sat 02:30":
            crashing.tick()
            continue
        asleep = local().strftime("%a") == "Thu" and local().hour < 12
        if not asleep:
            first.tick()
            second.tick()
    return store, done


def test_each_night_has_one_finished_run(week):
    store, done = week
    assert done == ["Fri", "Sat", "Sun", "Mon", "Tue", "Wed", "Thu", "Fri"]
    runs = store.runs("nightly")[::-1]
    assert [run.state for run in runs] == ["done"] * 8
    assert [run.result["night"] for run in runs] == done
    assert [f"{run.due.astimezone(BERLIN):%d %H:%M%z}" for run in runs] == [
        "26 02:30+0100", "27 02:30+0100", "28 03:30+0200", "29 02:30+0200",
        "30 02:30+0200", "31 02:30+0200", "01 02:30+0200", "02 02:30+0200",
    ]  # fmt: skip


def test_runs_record_attempts(week):
    store, _ = week
    runs = {f"{run.due.astimezone(BERLIN):%a %d}": run for run in store.runs("nightly")}
    crashed = runs["Sat 27"].attempts
    assert [one.outcome for one in crashed] == ["crashed", "done"]
    assert crashed[0].who != crashed[1].who
    assert all(len(run.attempts) == 1 for night, run in runs.items() if night != "Sat 27")
    slow, after = runs["Tue 30"].attempts[0], runs["Wed 31"].attempts[0]
    assert (slow.ended - slow.began).total_seconds() == 26 * 3600
    assert slow.began.astimezone(BERLIN).hour == 2
    assert after.began >= slow.ended
    late = runs["Thu 01"].attempts[0].began.astimezone(BERLIN)
    assert f"{late:%a %H:%M}" == "Thu 12:00"


def test_skipped_run_names_active_run(store, clock, make_job, launchers):
    store.add(make_job(cron="0 2 * * *", overlap="skip"))

    def slow(context):
        for _ in range(30):
            clock.forward(hours=1)
            other.tick()
        return {}

    here = launchers["here"](slow, store, clock)
    one, other = Scheduler(store, here, clock=clock), Scheduler(store, here, clock=clock)
    clock.now = datetime(2027, 3, 26, 2, tzinfo=UTC)
    one.tick()
    skipped, done = store.runs("nightly")
    assert (skipped.state, done.state) == ("skipped", "done")
    assert skipped.reason == "The run of 2027-03-26 02:00:00 UTC was still active."


def test_missed_times_are_recorded_and_notified_once(store, clock, make_job, launchers, caplog):
    store.add(make_job())
    here = launchers["here"](lambda context: {}, store, clock)
    clock.forward(hours=5, minutes=1)
    for _ in range(3):
        Scheduler(store, here, clock=clock).tick()
    runs = store.runs("nightly")
    assert [run.state for run in runs] == ["done", "missed", "missed", "missed", "missed"]
    assert (
        runs[-1].reason
        == "No scheduler was running for 4.0 h; only the latest of 5 due times runs."
    )
    assert [
        one.message.count("This also applies to 3 earlier times") for one in caplog.records
    ] == [1]


def test_jittered_run_starts_later(store, clock, make_job, launchers):
    store.add(make_job(jitter_s=600))
    looks = Scheduler(store, launchers["here"](lambda _: {}, store, clock), clock=clock)
    clock.forward(hours=1)
    looks.tick()
    (run,) = store.runs("nightly")
    assert run.state == "due"
    clock.forward(minutes=10)
    looks.tick()
    (run,) = store.runs("nightly")
    assert (run.state, run.due.minute) == ("done", 0)


def test_replaced_schedule_has_no_past_due_times(store, clock, make_job, launchers):
    store.add(make_job())
    clock.forward(days=2)
    store.add(make_job(every_s=1800), replacing=True)
    scheduler.record_due_times(store, store.job("nightly"), now=clock())
    assert store.runs("nightly") == []


def test_running_job_is_not_launched_again(store, clock, make_job, launchers):
    """The second to come finds the lease taken, and launches nothing."""
    store.add(make_job())
    launched = []

    class Counting(launchers["here"]):
        def launch(self, job, run):
            launched.append(run.due)
            super().launch(job, run)

    def work(context):
        Scheduler(store, here, clock=clock).tick()
        return {}

    here = Counting(work, store, clock)
    clock.forward(hours=1)
    Scheduler(store, here, clock=clock).tick()
    assert len(launched) == 1


def test_paused_job_records_skipped_times(store, clock, make_job, launchers, caplog):
    store.add(make_job())
    done = []
    work = launchers["here"](lambda context: done.append(context.run.due) or {}, store, clock)
    looks = Scheduler(store, work, clock=clock)
    clock.forward(minutes=30)
    scheduler.set_paused(store, "nightly", paused=True, now=clock())
    for _ in range(3):
        clock.forward(hours=1)
        looks.tick()
    clock.forward(hours=1)
    scheduler.set_paused(store, "nightly", paused=False, now=clock())  # nobody looked in between
    clock.forward(hours=1)
    looks.tick()
    runs = store.runs("nightly")[::-1]
    assert [run.state for run in runs] == ["skipped"] * 4 + ["done"]
    assert {run.reason for run in runs[:4]} == {"The job was paused."}
    assert len(done) == 1
    assert caplog.messages == [], "nobody is told of what was asked for"


def test_waiting_run_starts_after_resume(store, clock, make_job, launchers):
    store.add(make_job())
    looks = Scheduler(store, launchers["here"](lambda _: {}, store, clock), clock=clock)
    clock.forward(hours=1)
    scheduler.set_paused(store, "nightly", paused=True, now=clock())
    looks.tick()
    assert [run.state for run in store.runs("nightly")] == ["due"]
    asked = scheduler.request_run(store, "nightly", now=clock())
    looks.tick()
    assert store.run("nightly", asked).state == "due", "the schedule asked for that time, too"
    clock.forward(minutes=5)
    asked = scheduler.request_run(store, "nightly", now=clock())
    looks.tick()
    assert store.run("nightly", asked).state == "done", "a person is not jobs waiting"
    scheduler.set_paused(store, "nightly", paused=False, now=clock())
    looks.tick()
    assert [run.state for run in store.runs("nightly")] == ["done", "done"]


def test_waiting_run_of_removed_job_is_skipped(store, clock, make_job, launchers):
    def fails(context):
        raise TimeoutError("no answer")

    store.add(make_job())
    clock.forward(hours=1)
    Scheduler(store, launchers["here"](fails, store, clock), clock=clock).tick()
    assert store.runs("nightly")[0].state == "waiting"
    store.remove("nightly")
    store.add(make_job())
    clock.forward(minutes=30)
    Scheduler(store, launchers["here"](lambda _: {}, store, clock), clock=clock).tick()
    (run,) = store.runs("nightly")
    assert (run.state, run.reason) == ("skipped", "The job was removed.")
