"""Measure the champion on labeled live samples, and roll it back if it fails."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cascade.inference.decision import true_decisions
from cascade.metrics import classification
from cascade.taxonomy import Taxonomy
from curation.active_learning.gate import live_monitor
from curation.active_learning.gate.live_monitor import LiveCheck, RollbackPolicy
from curation.errors import StageError
from curation.storage import collection, reader, schema
from curation.tracking.registry.promotion import MoveResult, Promotions, history

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

GUARD = "guard"  # author of automatic rollbacks


@dataclass(frozen=True)
class GuardResult:
    """Outcome of one check of the champion.

    Attributes:
        at: Time of the check, ISO 8601, UTC.
        registry_name: Name of the registered model.
        version: The champion that was checked.
        rolled_back: Whether it was rolled back.
        in_service: The version in service now.
        reason: Reason for the decision, with figures.
    """

    at: str
    registry_name: str
    version: str
    rolled_back: bool
    in_service: str
    reason: str


def guard(
    promotions: Promotions,
    name: str,
    *,
    live: Path,
    policy: RollbackPolicy,
    events: Path | None = None,
) -> GuardResult:
    """Read the live checks once, and roll the champion back if the policy says so.

    Args:
        promotions: Access to the registry's aliases.
        name: Name of the registered model.
        live: File of live checks; see `live_monitor`.
        policy: Rule for rollbacks.
        events: File that gets a JSON line for every rollback.

    Raises:
        StageError: No version is in service.
        PublishError: No earlier version exists to roll back to.
    """
    champion = promotions.registry.champion(name)
    if champion is None:
        raise StageError(f"No version of {name!r} is in service, so there is nothing to guard.")
    moves = history(promotions.registry, name)
    since = moves[-1].at if moves and moves[-1].after == champion else None
    decision = live_monitor.decide(
        live_monitor.read_checks(live), champion=champion, policy=policy, since=since
    )
    moved: MoveResult | None = None
    if decision.roll_back:
        moved = promotions.rollback(name, by=GUARD, why=decision.reason, of=champion)
    result = GuardResult(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        registry_name=name,
        version=champion,
        rolled_back=moved is not None and moved.changed,
        in_service=moved.champion if moved else champion,
        reason=decision.reason,
    )
    if result.rolled_back and events is not None:
        events.parent.mkdir(parents=True, exist_ok=True)
        with events.open("a") as file:
            file.write(json.dumps({"event": "rollback", **asdict(result)}) + "\n")
    return result


def measure_live_mcc(
    samples: SampleCollection, taxonomy: Taxonomy, *, version: str, ensemble: str
) -> LiveCheck:
    """Return the MCC of the champion's stored decisions on labeled live samples.

    Args:
        samples: A FiftyOne view of live samples; those without ground truth, or with the
            decision of another ensemble, are left out.
        taxonomy: Taxonomy whose decision names the field.
        version: Version of the champion.
        ensemble: Hash of the champion, as stored with its decisions.

    Raises:
        StageError: No sample qualifies, or all have the same true answer, so MCC is undefined.
    """
    decision = taxonomy.decision.name
    view = samples.exists(schema.GROUND_TRUTH).match({f"{decision}.fingerprint": ensemble})
    ids, _ = collection.ids_and_paths(view)
    truth = true_decisions(reader.read_detections(view, schema.GROUND_TRUTH, taxonomy), taxonomy)
    labels = dict(zip(*view.values(["id", f"{decision}.label"]), strict=True))
    predicted = np.array([labels[sample_id] == "yes" for sample_id in ids], bool)
    value = classification.mcc(truth, predicted) if len(ids) else None
    if value is None:
        raise StageError(
            f"Cannot measure MCC: {len(ids)} labeled live samples carry a decision of version "
            f"{version}{', all with the same true answer' if ids else ''}. Label more."
        )
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return LiveCheck(at=at, version=version, value=value, n=len(ids))
