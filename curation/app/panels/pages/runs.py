"""The page about queued operations: what waits, runs, is done or failed; logs, cancel, rerun."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from curation.app.panels import text as words
from curation.app.panels.components import (
    Action,
    Button,
    Buttons,
    Choice,
    Notice,
    Page,
    Piece,
    Table,
    Text,
    Timer,
)
from curation.worker import run_history
from curation.worker.run_history import Run

if TYPE_CHECKING:
    from fiftyone import Dataset

WHOSE, SHOWN, IDS = "whose", "shown", "ids"  # state: whose runs; whose log; ids by row
HERE, EVERYWHERE = "here", "everywhere"
_MOST = 50
_LOG_LINES = 60
_LONGEST = 160  # characters of an error in the table
_REFRESH_S = 3.0
_NOW = ("running", "cancelling", "queued", "lost")


def page(dataset: Dataset, found: Sequence[Run], whose: str, shown: str | None = None) -> Page:
    """Return the page of some runs.

    Args:
        dataset: The FiftyOne dataset that is open.
        found: What `listed` returned.
        whose: `here` for the runs of this dataset, `everywhere` for all.
        shown: The run whose log is shown.
    """
    pieces: list[Piece] = [
        Choice(WHOSE, "Runs", {HERE: f"on {dataset.name}", EVERYWHERE: "on all datasets"}, whose,
               "change"),
        Buttons("refreshing", (Button("refresh", "Refresh", "refresh"),)),
    ]  # fmt: skip
    if not found:
        return Page.of(
            *pieces,
            Notice(
                "nothing",
                "Nothing was queued yet",
                "Open an operator (press `), and choose “Schedule” beside “Execute”. A worker "
                "does what is queued: `curate worker`, or `fiftyone delegated launch`.",
            ),
        )
    counted = Counter(one.state for one in found)
    head = ", ".join(f"**{n}** {state}" for state, n in counted.items())
    pieces += [Text("head", head), *_stuck(found), _table(found, whose)]
    if any(one.state in _NOW for one in found):
        pieces.append(Timer("timer", _REFRESH_S, "refresh"))
    if shown is not None:
        pieces += _log(shown)
    return Page.of(*pieces)


def listed(dataset: Dataset, whose: str | None) -> tuple[Run, ...]:
    """Return the runs: those that run, then those that wait, then the past."""
    return run_history.list_runs(None if whose == EVERYWHERE else dataset.name, limit=_MOST)


def cancel(run: str) -> str:
    """Ask a run to end, and say how it is then."""
    state = run_history.cancel(run).state
    return "Cancelled." if state == "cancelled" else "It ends when it next tells how far it is."


def rerun(run: str) -> str:
    """Queue a run again."""
    run_history.rerun(run)
    return "Queued again, with the same inputs."


def _stuck(found: Sequence[Run]) -> list[Piece]:
    """Return a warning where runs wait and nobody works."""
    waiting = [one for one in found if one.state == "queued" and one.queued_at]
    working = any(one.state in ("running", "cancelling") for one in found)
    if not waiting or working:
        return []
    longest = max(_since(one.queued_at) for one in waiting)
    if longest < 30:
        return []
    return [
        Notice(
            "stuck", "No worker seems to be there", "Start one: `curate worker` in a terminal.",
            "warning",
        )
    ]  # fmt: skip


def _table(found: Sequence[Run], whose: str) -> Table:
    rows = [
        {
            "state": one.state if one.place is None else f"{one.state} ({one.place}.)",
            "what": one.label,
            "dataset": one.dataset,
            "progress": _progress(one),
            "when": "" if one.queued_at is None else words.ago(_since(one.queued_at)),
            "took": "" if one.seconds is None else words.duration(one.seconds),
        }
        for one in found
    ]
    headings = {"state": "state", "what": "operation"}
    headings |= {"dataset": "dataset"} if whose == EVERYWHERE else {}
    headings |= {"progress": "progress, or what went wrong", "when": "queued", "took": "took"}
    actions = (
        Action("log", "Log", "article"),
        Action("cancel", "Cancel", "cancel", tuple(not one.is_over for one in found)),
        Action(
            "rerun", "Run again", "replay", tuple(one.is_over and one.rerunnable for one in found)
        ),
    )
    return Table("runs", "", headings, rows, actions)


def _progress(run: Run) -> str:
    if run.error:
        return run.error if len(run.error) <= _LONGEST else run.error[: _LONGEST - 1] + "…"
    parts = [] if run.progress is None else [words.share(run.progress, 1)]
    return " · ".join([*parts, run.note] if run.note else parts)


def _log(run: str) -> list[Piece]:
    known, text = run_history.get(run), run_history.log_of(run)
    lines = text.strip().splitlines()[-_LOG_LINES:]
    body = "\n".join(lines) or "It said nothing."
    attempts = f", attempt {known.attempts}" if known.attempts > 1 else ""
    where = f", by {known.worker}" if known.worker else ""
    return [
        Text("log", f"**Log of {known.label}**{attempts}{where}\n\n```text\n{body}\n```"),
        Buttons("closing", (Button("close_log", "Close the log", "close"),)),
    ]


def _since(moment: datetime | None) -> float:
    return 0.0 if moment is None else (datetime.now(UTC) - moment).total_seconds()
