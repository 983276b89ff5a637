"""Measure the champion on live samples that people labeled, and roll back when it fails."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cascade.inference import decision as voting
from cascade.metrics import classification
from cascade.taxonomy import Taxonomy
from curation.active_learning.gate import live_monitor
from curation.active_learning.gate.live_monitor import LiveCheck, Watch
from curation.errors import StageError
from curation.storage import collection, reader, schema
from curation.tracking.registry.promotion import Moved, Promotions, history

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

GUARD = "guard"  # who rolls back


@dataclass(frozen=True)
class WatchResult:
    """What one look came to.

    Attributes:
        at: When, ISO 8601, UTC.
        registry_name: Whose champion.
        version: The champion that was looked at.
        rolled_back: Whether it was withdrawn.
        in_service: The version in service now.
        reason: Why, or why not, in numbers.
    """

    at: str
    registry_name: str
    version: str
    rolled_back: bool
    in_service: str
    reason: str


def watch(
    moving: Promotions, name: str, *, live: Path, watching: Watch, events: Path | None = None
) -> WatchResult:
    """Look at the live checks once, and roll back where they ask for it.

    Args:
        moving: What moves the champion.
        name: Of the registered model.
        live: The file of checks: see `guard`.
        watching: When to roll back.
        events: A file that gets a JSON line for every rollback.

    Raises:
        StageError: Nothing is in service.
        PublishError: There is nothing to roll back to.
    """
    champion = moving.registry.champion(name)
    if champion is None:
        raise StageError(f"No version of {name!r} is in service, so there is nothing to guard.")
    moves = history(moving.registry, name)
    since = moves[-1].at if moves and moves[-1].after == champion else None
    decision = live_monitor.decide(
        live_monitor.read(live), champion=champion, watch=watching, since=since
    )
    moved: Moved | None = None
    if decision.roll_back:
        moved = moving.rollback(name, by=GUARD, why=decision.reason, of=champion)
    result = WatchResult(
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


def measure(
    samples: SampleCollection, taxonomy: Taxonomy, *, version: str, ensemble: str
) -> LiveCheck:
    """Return the MCC of the champion's stored decisions on labeled live samples.

    Args:
        samples: A FiftyOne view of live samples; those without ground truth, and those whose
            decision is of another ensemble, are left out.
        taxonomy: Its decision names the field.
        version: Of the champion.
        ensemble: Its hash, which its decisions carry.

    Raises:
        StageError: No sample qualifies, or all have one true answer: MCC is not defined.
    """
    decision = taxonomy.decision.name
    view = samples.exists(schema.GROUND_TRUTH).match({f"{decision}.fingerprint": ensemble})
    ids, _ = collection.ids_and_paths(view)
    truth = voting.decisions_of(
        reader.read_detections(view, schema.GROUND_TRUTH, taxonomy), taxonomy
    )
    labels = dict(zip(*view.values(["id", f"{decision}.label"]), strict=True))
    said = np.array([labels[one] == "yes" for one in ids], bool)
    value = classification.mcc(truth, said) if len(ids) else None
    if value is None:
        raise StageError(
            f"{len(ids)} labeled live samples carry a decision of version {version}"
            f"{', all with one true answer' if ids else ''}: no MCC can be measured. Label more."
        )
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return LiveCheck(at=at, version=version, value=value, n=len(ids))
