"""Page of the runs panel: queued, running, completed and failed operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from curation import formatting
from curation.app.panels.components import (
    Action,
    Button,
    Buttons,
    Choice,
    Component,
    Notice,
    Page,
    Table,
    Text,
    Timer,
)
from curation.worker import run_history
from curation.worker.run_history import Run

if TYPE_CHECKING:
    from fiftyone import Dataset

SCOPE, SHOWN, IDS = "whose", "shown", "ids"  # state: scope; run with open log; ids by row
HERE, EVERYWHERE = "here", "everywhere"
_MAX_RUNS = 50
_MAX_LOG_LINES = 60
_MAX_ERROR = 160  # characters in the table
_REFRESH_S = 3.0
_WORKER_MISSING_S = 30.0  # queue time without a working worker that calls for a warning
_OPEN_STATES = ("running", "cancelling", "queued", "lost")


def build_page(dataset: Dataset, runs: Sequence[Run], scope: str, shown: str | None = None) -> Page:
    """Return the page of some runs.

    Args:
        dataset: The open dataset.
        runs: Result of `list_runs`.
        scope: `here` for the runs of this dataset, `everywhere` for all.
        shown: Id of the run with an open log.
    """
    scopes = {HERE: f"on {dataset.name}", EVERYWHERE: "on all datasets"}
    components: list[Component | None] = [
        Choice(SCOPE, "Runs", scopes, scope, "change"),
        Buttons("refreshing", (Button("refresh", "Refresh", "refresh"),)),
    ]
    if not runs:
        return Page.of(
            *components,
            Notice(
                "nothing",
                "Nothing has been queued yet",
                "Open an operator with the backtick key, and select Schedule instead of Execute. "
                "Queued operations are run by a worker: `curate worker`, or `fiftyone delegated "
                "launch`.",
            ),
        )
    states = Counter(run.state for run in runs)
    head = ", ".join(f"**{n}** {state}" for state, n in states.items())
    components += [Text("head", head), _missing_worker(runs), _table(runs, scope)]
    if any(run.state in _OPEN_STATES for run in runs):
        components.append(Timer("timer", _REFRESH_S, "refresh"))
    if shown is not None:
        components += _log(shown)
    return Page.of(*components)


def list_runs(dataset: Dataset, scope: str | None) -> tuple[Run, ...]:
    """Return the runs: running, then queued, then past ones."""
    return run_history.list_runs(None if scope == EVERYWHERE else dataset.name, limit=_MAX_RUNS)


def cancel(run_id: str) -> str:
    """Cancel a run, and return a message."""
    is_cancelled = run_history.cancel(run_id).state == "cancelled"
    return "Cancelled." if is_cancelled else "The run ends at its next progress report."


def rerun(run_id: str) -> str:
    """Queue a run again, and return a message."""
    run_history.rerun(run_id)
    return "Queued again with the same inputs."


def _missing_worker(runs: Sequence[Run]) -> Notice | None:
    """Return a warning if runs wait and no run is being processed."""
    ages = [_age(run.queued_at) for run in runs if run.state == "queued" and run.queued_at]
    if any(run.state in ("running", "cancelling") for run in runs):
        return None
    if max(ages, default=0.0) < _WORKER_MISSING_S:
        return None
    return Notice(
        "stuck", "No worker seems to be running", "Start one: `curate worker` in a terminal.",
        "warning",
    )  # fmt: skip


def _table(runs: Sequence[Run], scope: str) -> Table:
    rows = [
        {
            "state": run.state if run.place is None else f"{run.state} ({run.place}.)",
            "what": run.label,
            "dataset": run.dataset,
            "progress": _progress(run),
            "when": "" if run.queued_at is None else formatting.time_ago(_age(run.queued_at)),
            "took": "" if run.seconds is None else formatting.duration(run.seconds),
        }
        for run in runs
    ]
    headings = {"state": "state", "what": "operation"}
    headings |= {"dataset": "dataset"} if scope == EVERYWHERE else {}
    headings |= {"progress": "progress or error", "when": "queued", "took": "duration"}
    rerunnable = tuple(run.is_finished and run.rerunnable for run in runs)
    actions = (
        Action("log", "Log", "article"),
        Action("cancel", "Cancel", "cancel", tuple(not run.is_finished for run in runs)),
        Action("rerun", "Run again", "replay", rerunnable),
    )
    return Table("runs", "", headings, rows, actions)


def _progress(run: Run) -> str:
    if run.error:
        return run.error if len(run.error) <= _MAX_ERROR else run.error[: _MAX_ERROR - 1] + "…"
    parts = [] if run.progress is None else [formatting.percent(run.progress)]
    return " · ".join([*parts, run.note] if run.note else parts)


def _log(run_id: str) -> list[Component]:
    run, text = run_history.get_run(run_id), run_history.read_log(run_id)
    body = "\n".join(text.strip().splitlines()[-_MAX_LOG_LINES:]) or "The log is empty."
    attempts = f", attempt {run.attempts}" if run.attempts > 1 else ""
    worker = f", by {run.worker}" if run.worker else ""
    return [
        Text("log", f"**Log of {run.label}**{attempts}{worker}\n\n```text\n{body}\n```"),
        Buttons("closing", (Button("close_log", "Close the log", "close"),)),
    ]


def _age(moment: datetime) -> float:
    return (datetime.now(UTC) - moment).total_seconds()
