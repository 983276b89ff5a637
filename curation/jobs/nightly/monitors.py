"""Monitoring jobs: drift of new images, and the champion's live metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from curation.active_learning.gate.live_monitor import RollbackPolicy
from curation.errors import StageError
from curation.jobs.execution.runner import RunContext
from curation.jobs.models import Refused
from curation.jobs.nightly import ranking
from curation.jobs.nightly.incremental_embeddings import embed_new
from curation.jobs.nightly.ranking import ACCEPTED, THROUGH, NightlyConfig
from curation.settings import Settings
from curation.stages.guard import guard
from curation.storage import collection, queries
from curation.storage.database.lease import LeaseError
from curation.tracking.registry.promotion import open_promotions


def monitor_drift(context: RunContext, config: NightlyConfig) -> Mapping[str, Any]:
    """Ingest and embed new images, and compare them with the earlier ones.

    Raises:
        Refused: The new images have drifted; sending this event is the purpose of the job.
    """
    result = {}
    if config.watched is not None:
        result["ingest"] = ranking.ingest_new(config, config.watched)
    dataset = queries.load_dataset(config.dataset)
    folder = config.settings.vectors(dataset.name)
    embedded = embed_new(dataset, config.ensemble(dataset), folder=folder, device=config.device)
    comparison, through = ranking.measure_drift(context, dataset, most_far=config.most_far)
    if comparison is not None and comparison.drifted and not context.facts.get(ACCEPTED):
        raise Refused(comparison.sentence)
    return {
        **result,
        "samples": len(collection.ids_and_paths(dataset)[0]),
        "embed": asdict(embedded),
        "drift": None if comparison is None else asdict(comparison),
        THROUGH: through,
    }


def monitor_metric(context: RunContext, settings: Settings) -> Mapping[str, Any]:
    """Evaluate the champion's live checks, and roll back if they require it.

    Raises:
        StageError: No version was promoted yet, or another process is moving it.
        Refused: The champion was rolled back.
    """
    options = context.job.options
    with open_promotions(settings) as service:
        context.renew_lease()
        try:
            result = guard(
                service,
                options["dataset"],
                live=Path(options["live"]),
                policy=RollbackPolicy(floor=options["floor"]),
            )
        except LeaseError as error:  # of the champion, not of the job
            raise StageError(f"Another process is moving the champion. {error}") from error
    if result.rolled_back:
        raise Refused(f"Rolled back to version {result.in_service}. {result.reason}")
    return asdict(result)
