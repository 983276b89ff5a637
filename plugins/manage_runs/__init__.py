"""The App's door to what was queued: look, cancel, run again."""

from dataclasses import asdict
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.operators.base import RUN, Door
from curation.app.operators.execution import Outcome
from curation.worker import run_history

AT_ONCE = {**RUN, "allow_delegated_execution": False}
SHOWN = 50


def ask_run(form: Any, *, over: bool | None) -> str:
    """Ask for a run.

    Args:
        form: The form.
        over: Whether those that are over are meant, or those that are not; None for all.
    """
    found = [
        one for one in run_history.list_runs(limit=SHOWN) if over is None or one.is_finished == over
    ]
    shown = {
        one.id: f"{one.label} · {one.dataset or 'no dataset'} · {one.state}"
        + ("" if one.queued_at is None else f" · {one.queued_at:%Y-%m-%d %H:%M} UTC")
        for one in found
    }
    if not shown:
        form.refuse("There is no such run." if over is None else "No run is in such a state.")
        return ""
    return str(form.pick("run", "Run", shown, default=next(iter(shown))))


class ShowRuns(Door):
    """Shows what was queued, and the log of one of them."""

    looks_at = "nothing"
    button = "Show"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="show_runs",
            label="Curation: read a run's log",
            description="What is queued, runs, is done or failed; and the log of a run",
            icon="receipt_long",
            risk_level=types.RiskLevel.LOW,
            **AT_ONCE,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask whose log is wanted."""
        ask_run(form, over=None)

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """List the runs."""
        found = run_history.list_runs(limit=SHOWN)
        run = ctx.params.get("run") or (found[0].id if found else "")
        one = run_history.get_run(run)
        return Outcome(
            f"{one.label}: {one.state}. {one.error or one.note}".strip(),
            {
                "run": asdict(one),
                "log": run_history.read_log(run) or "It kept no log.",
                "runs": [f"{each.state}: {each.label} ({each.dataset})" for each in found],
            },
            wrote=False,
        )


class CancelRun(Door):
    """Asks a run to end; one that waits ends at once."""

    looks_at = "nothing"
    button = "Cancel the run"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="cancel_run",
            label="Curation: cancel a run",
            description="End a queued or running operation; what it wrote stays",
            icon="cancel",
            risk_level=types.RiskLevel.HIGH,
            **AT_ONCE,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the run."""
        ask_run(form, over=False)

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Cancel it."""
        one = run_history.cancel(ctx.params.get("run") or _first(over=False))
        return Outcome(f"{one.label}: {one.state}.", {"run": asdict(one)}, wrote=False)


class RerunRun(Door):
    """Queues a run again, with the same inputs."""

    looks_at = "nothing"
    button = "Run again"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="rerun_run",
            label="Curation: run again",
            description="Queue an operation that is over once more, with the same inputs",
            icon="replay",
            risk_level=types.RiskLevel.MEDIUM,
            **AT_ONCE,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the run."""
        ask_run(form, over=True)

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Queue it."""
        new = run_history.rerun(ctx.params.get("run") or _first(over=True))
        return Outcome(
            f"Queued again as {new}.", {"run": asdict(run_history.get_run(new))}, wrote=False
        )


def _first(*, over: bool) -> str:
    return next((one.id for one in run_history.list_runs(limit=SHOWN) if one.is_finished == over), "")


def register(plugin: Any) -> None:
    """Hand the operators to FiftyOne; `fiftyone.yml` lists the same names."""
    plugin.register(ShowRuns)
    plugin.register(CancelRun)
    plugin.register(RerunRun)
