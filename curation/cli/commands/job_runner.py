"""Work of `curate jobs run`: attempts at a run until it ends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from curation.cli.app import say
from curation.pipeline.dataset_ensemble import ensemble_for

if TYPE_CHECKING:
    from curation.jobs.execution.runner import RunContext, Work
    from curation.jobs.models import Job, Run
    from curation.jobs.store import JobStore
    from curation.settings import Settings


def work_of(job: Job, settings: Settings) -> Work:
    """Return the function that does the work of a job."""
    from curation.jobs.nightly import monitors

    if job.kind == "metric":
        return lambda context: monitors.monitor_metric(context, settings)
    return lambda context: _run_nightly(context, settings)


def _run_nightly(context: RunContext, settings: Settings) -> Mapping[str, Any]:
    from cascade import taxonomy
    from curation.jobs.nightly import monitors, ranking
    from curation.labeling import factory

    options = context.job.options
    config = ranking.NightlyConfig(
        dataset=options["dataset"],
        watched=options["watch"],
        taxonomy=taxonomy.load(options["taxonomy"]),
        ensemble=lambda dataset: ensemble_for(dataset, settings, options["manifest"], None),
        labeler=lambda dataset: factory.create(options["labeler"], dataset, settings),
        budget=options["budget"],
        settings=settings,
        most_far=options["most_far"],
        seed=options["seed"],
        mode=options.get("mode", "routed"),  # jobs of release 0.1 have no mode and engine
        engine=options.get("engine", "local"),
    )
    work = monitors.monitor_drift if context.job.kind == "drift" else ranking.rank
    return work(context, config)


def finish_run(store: JobStore, job: Job, due: datetime, work: Work, *, once: bool) -> Run:
    """Make attempts at a run until it ends, with delays; with `once`, make one attempt."""
    from curation.jobs import scheduler
    from curation.jobs.execution import runner
    from curation.jobs.models import JobError
    from curation.storage.database.lease import LeaseError

    while True:
        run = store.run(job.name, due)
        if run is None:
            raise JobError(f"No run of {job.name!r} is recorded for {due.isoformat()}.")
        if not run.is_open:
            return run
        delay_s = (scheduler.next_attempt_time(job, run) - datetime.now(UTC)).total_seconds()
        time.sleep(max(0.0, delay_s))
        max_wait_s = job.timeout_s if job.overlap == "queue" and not once else 0.0
        try:
            updated = runner.attempt(job, due, work, store, wait_s=max_wait_s)
        except LeaseError as error:  # the process with the lease finishes the run
            say(str(error))
            return store.run(job.name, due) or run
        if once:
            return updated
