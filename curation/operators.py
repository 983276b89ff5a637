"""What the operators in `plugins/` share. An operator itself is a form and one call to a stage.

FiftyOne runs a plugin's `__init__.py` anew for every request, so whatever is worth keeping
lives here, in the installed package. An error raised in an operator is shown by the App as
a red notice of one line, its text, and ends a queued run as failed: nothing is caught here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from curation import fields
from curation.progress import Progress

MANY_SAMPLES = 2000  # more are better queued: the App gives an operator 600 s
_TOLD_EVERY_S = 2.0  # each telling is a write to the database
_NO_MEMBERS = (fields.GROUND_TRUTH, fields.ORACLE, fields.CONSENSUS)


def member_fields(dataset: Any) -> list[str]:
    """Return the Detections fields of a FiftyOne dataset that hold predictions, sorted."""
    import fiftyone as fo

    found = dataset.get_field_schema(embedded_doc_type=fo.Detections)
    return sorted(name for name in found if name not in _NO_MEMBERS)


def next_round(dataset: Any) -> int:
    """Return the number of the first round that has chosen nothing yet."""
    tags = set(dataset.distinct("tags"))
    number = 1
    while fields.round_tag(number) in tags:
        number += 1
    return number


def progress_of(ctx: Any, verb: str) -> Progress | None:
    """Return what tells the App how far a queued operation is; None where nobody looks.

    FiftyOne shows the progress of delegated operations only.
    """
    if not ctx.delegated:
        return None
    return throttled(
        lambda done, total: ctx.set_progress(done / max(total, 1), f"{verb}: {done} of {total}")
    )


def throttled(
    tell: Callable[[int, int], None],
    *,
    every_s: float = _TOLD_EVERY_S,
    clock: Callable[[], float] = time.monotonic,
) -> Progress:
    """Return a progress that passes on the first call, the last, and one in `every_s` seconds."""
    told_at: float | None = None

    def pass_on(done: int, total: int) -> None:
        nonlocal told_at
        now = clock()
        if done >= total or told_at is None or now - told_at >= every_s:
            told_at = now
            tell(done, total)

    return pass_on


def execution_options(ctx: Any) -> Any:
    """Return how an operation may run: at once, or queued where there is a lot to do."""
    import fiftyone.operators as foo

    return foo.ExecutionOptions(
        allow_immediate_execution=True,
        allow_delegated_execution=True,
        default_choice_to_delegated=ctx.target_view().count() > MANY_SAMPLES,
    )


def refresh(ctx: Any) -> None:
    """Have the App show what was written; a queued operation has no App to tell."""
    if not ctx.delegated:
        ctx.ops.reload_dataset()
