"""The registry: versions, their history, promotion, rollback and comparison."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from curation.api.datasets import connected

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

    from curation.stages.compare import CompareResult
    from curation.tracking import Registry, Version
    from curation.tracking.registry.promotion import Event, MoveResult


def versions(dataset: Dataset) -> list[Version]:
    """Return the registered ensembles of a dataset, oldest first.

    Example:
        >>> [(version.version, version.aliases) for version in cu.versions(dataset)]

    Args:
        dataset: A FiftyOne dataset or view.
    """
    return _registry().versions(_name(dataset))


def history(dataset: Dataset) -> list[Event]:
    """Return every promotion and rollback of a dataset's ensembles, oldest first.

    Example:
        >>> [(event.at, event.kind, event.after, event.by) for event in cu.history(dataset)]

    Args:
        dataset: A FiftyOne dataset or view.
    """
    from curation.tracking.registry.promotion import history as events

    return events(_registry(), _name(dataset))


def promote(
    dataset: Dataset,
    version: str = "challenger",
    *,
    by: str,
    why: str,
    against_the_gate: bool = False,
) -> MoveResult:
    """Promote a version to champion; `rollback` reverts it.

    Example:
        >>> cu.promote(dataset, by="Ada L.", why="verdict read, round 4")

    Args:
        dataset: A FiftyOne dataset or view.
        version: A number, or an alias.
        by: Name of the responsible person.
        why: Reason for the promotion.
        against_the_gate: Whether to promote without the gate's consent, or with consent against
            an earlier champion.

    Raises:
        PublishError: The gate does not approve the version, or the version is incomplete.
        LeaseError: Another process is moving an alias.
    """
    from curation.tracking.registry.promotion import open_promotions

    with open_promotions(connected()) as moves:
        return moves.promote_judged(
            _name(dataset), version, by=by, why=why, against_the_gate=against_the_gate
        )


def rollback(dataset: Dataset, *, by: str, why: str, of: str | None = None) -> MoveResult:
    """Restore the version that the champion replaced. Idempotent.

    Example:
        >>> cu.rollback(dataset, by="Ada L.", why="misses cones at night").sentence

    Args:
        dataset: A FiftyOne dataset or view.
        by: Name of the responsible person.
        why: Reason for the rollback.
        of: The version to withdraw; None for the one promoted last.

    Raises:
        PublishError: No earlier version exists to return to.
        LeaseError: Another process is moving an alias.
    """
    from curation.tracking.registry.promotion import open_promotions

    with open_promotions(connected()) as moves:
        return moves.rollback(_name(dataset), by=by, why=why, of=of)


def compare(
    samples: SampleCollection, first: str = "champion", second: str = "challenger"
) -> CompareResult:
    """Run two versions on the same samples, each into its own fields, such as `consensus__v3`.

    Example:
        >>> comparison = cu.compare(dataset.match({"split": "test"}), "2", "3")
        >>> dataset.load_saved_view(comparison.view)  # samples with different decisions

    Args:
        samples: A FiftyOne dataset or view.
        first: A version, or `champion`, `challenger`, `previous`.
        second: Another version or alias.

    Raises:
        PublishError: A version does not exist, or its files were modified.
    """
    from cascade.ensemble import Ensemble
    from curation.stages.compare import compare as run

    name, registry = _name(samples), _registry()
    versions = [registry.version(name, version).version for version in (first, second)]
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        return run(
            samples,
            {
                version: Ensemble.load(
                    registry.download_version(name, version, Path(folder) / version)
                )
                for version in versions
            },
        )


def _registry() -> Registry:
    from curation.tracking import Registry

    return Registry.from_settings(connected())


def _name(samples: SampleCollection) -> str:
    """Return the name of a dataset's registered model."""
    from curation.storage.collection import dataset_of

    return str(dataset_of(samples).name)
