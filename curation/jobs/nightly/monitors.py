"""The jobs that only look: do new images drift, and does the champion's metric hold?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from curation.active_learning.gate.live_monitor import RollbackPolicy
from curation.errors import StageError
from curation.jobs.execution.runner import Context
from curation.jobs.models import Refused
from curation.jobs.nightly import ranking
from curation.jobs.nightly.incremental_embeddings import embed_new
from curation.jobs.nightly.ranking import ACCEPTED, THROUGH, Night
from curation.settings import Settings
from curation.stages.guard import watch
from curation.storage import collection, queries
from curation.storage.database.lease import LeaseError
from curation.tracking.registry.promotion import promotions


def drift(context: Context, night: Night) -> Mapping[str, Any]:
    """Bring in and embed what is new, and say whether it is like what was there before.

    Raises:
        Refused: It is not; the event that tells of it is the purpose of the job.
    """
    done = {} if night.watched is None else {"ingest": ranking.bring_in(night, night.watched)}
    dataset = queries.load_dataset(night.dataset)
    folder = night.settings.vectors(dataset.name)
    embedded = embed_new(dataset, night.ensemble(dataset), folder=folder, device=night.device)
    found, through = ranking.compare(context, dataset, most_far=night.most_far)
    if found is not None and found.drifted and not context.facts.get(ACCEPTED):
        raise Refused(found.sentence)
    return {
        **done,
        "samples": len(collection.ids_and_paths(dataset)[0]),
        "embed": asdict(embedded),
        "drift": None if found is None else asdict(found),
        THROUGH: through,
    }


def metric(context: Context, settings: Settings) -> Mapping[str, Any]:
    """Look at the champion's live checks, and roll back where they ask for it.

    Raises:
        StageError: Nothing is in service, or somebody moves what is.
    """
    wants = context.job.options
    with promotions(settings) as moving:
        context.expect_alone()
        try:
            found = watch(
                moving,
                wants["dataset"],
                live=Path(wants["live"]),
                watching=RollbackPolicy(floor=wants["floor"]),
            )
        except LeaseError as error:  # the champion's; that of the job is held
            raise StageError(f"The champion is being moved. {error}") from error
    if found.rolled_back:
        raise Refused(f"Rolled back to version {found.in_service}. {found.reason}")
    return asdict(found)
