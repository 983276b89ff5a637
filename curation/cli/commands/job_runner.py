"""What `curate jobs run` does with a run: the work of the job's kind, until it is at its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from curation.cli.app import ensemble_for, say

if TYPE_CHECKING:
    from curation.jobs.execution.runner import Context, Work
    from curation.jobs.models import Job, Run
    from curation.jobs.store import History
    from curation.settings import Settings


def work_of(job: Job, settings: Settings) -> Work:
    """Return what a job does."""
    from curation.jobs.nightly import monitors

    if job.kind == "metric":
        return lambda context: monitors.metric(context, settings)
    return lambda context: _ranking(context, settings)


def _ranking(context: Context, settings: Settings) -> Mapping[str, Any]:
    from cascade import taxonomy
    from curation.jobs.nightly import monitors, ranking
    from curation.labeling import factory

    wants = context.job.options
    night = ranking.Night(
        dataset=wants["dataset"],
        watched=wants["watch"],
        taxonomy=taxonomy.load(wants["taxonomy"]),
        ensemble=lambda dataset: ensemble_for(dataset, settings, wants["manifest"], None),
        labeler=lambda dataset: factory.create(wants["labeler"], dataset, settings),
        budget=wants["budget"],
        settings=settings,
        most_far=wants["most_far"],
        seed=wants["seed"],
    )
    return (monitors.drift if context.job.kind == "drift" else ranking.rank)(context, night)


def to_its_end(kept: History, job: Job, due: datetime, work: Work, *, once: bool) -> Run:
    """Try a run until it is at its end, waiting in between; only once if so asked."""
    from curation.jobs import scheduler
    from curation.jobs.execution import runner
    from curation.jobs.models import JobError
    from curation.storage.database.lease import LeaseError

    while True:
        found = kept.run(job.name, due)
        if found is None:
            raise JobError(f"Nothing of {job.name!r} is on record for {due.isoformat()}.")
        if not found.is_open:
            return found
        wait_s = (scheduler.starts_at(job, found) - datetime.now(UTC)).total_seconds()
        time.sleep(max(0.0, wait_s))
        patience_s = job.timeout_s if job.overlap == "queue" and not once else 0.0
        try:
            ended = runner.attempt(job, due, work, kept, wait_s=patience_s)
        except LeaseError as error:  # whoever has it carries the run to its end
            say(str(error))
            return kept.run(job.name, due) or found
        if once:
            return ended
