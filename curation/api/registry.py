"""What is in service: versions, who promoted which and why, and two of them side by side."""

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
    from curation.tracking.registry.promotion import Event, Moved


def versions(dataset: Dataset) -> list[Version]:
    """Return the registered ensembles of a dataset, oldest first.

    Example:
        >>> [(one.version, one.aliases) for one in cu.versions(dataset)]

    Args:
        dataset: A FiftyOne dataset or view.
    """
    return _registry().versions(_name(dataset))


def history(dataset: Dataset) -> list[Event]:
    """Return every promotion and rollback of a dataset's ensembles, oldest first.

    Example:
        >>> [(one.at, one.kind, one.after, one.by, one.why) for one in cu.history(dataset)]

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
) -> Moved:
    """Put a version into service, in your name; `rollback` takes it back.

    Example:
        >>> cu.promote(dataset, by="Ada L.", why="verdict read, round 4")

    Args:
        dataset: A FiftyOne dataset or view.
        version: A number, or an alias.
        by: Who answers for it.
        why: The reason, in your words.
        against_the_gate: Also where the gate did not say so, or judged it against an old champion.

    Raises:
        PublishError: The gate did not say so, or the version is not whole.
        LeaseError: Somebody else is moving something right now.
    """
    from curation.tracking.registry.promotion import promotions

    with promotions(connected()) as moving:
        return moving.promote_judged(
            _name(dataset), version, by=by, why=why, against_the_gate=against_the_gate
        )


def rollback(dataset: Dataset, *, by: str, why: str, of: str | None = None) -> Moved:
    """Put the version that the champion replaced back into service. Said twice, done once.

    Example:
        >>> cu.rollback(dataset, by="Ada L.", why="misses cones at night").sentence

    Args:
        dataset: A FiftyOne dataset or view.
        by: Who answers for it.
        why: The reason, in your words.
        of: The version to withdraw; None for the one that was promoted last.

    Raises:
        PublishError: There is nothing to go back to.
        LeaseError: Somebody else is moving something right now, and for long.
    """
    from curation.tracking.registry.promotion import promotions

    with promotions(connected()) as moving:
        return moving.rollback(_name(dataset), by=by, why=why, of=of)


def compare(
    samples: SampleCollection, first: str = "champion", second: str = "challenger"
) -> CompareResult:
    """Run two versions on the same samples, each into fields of its own, such as `consensus__v3`.

    Example:
        >>> found = cu.compare(dataset.match({"split": "test"}), "2", "3")
        >>> dataset.load_saved_view(found.view)  # where they decide differently

    Args:
        samples: A FiftyOne dataset or view.
        first: A version, or `champion`, `challenger`, `previous`.
        second: Another one.

    Raises:
        PublishError: There is no such version, or a file of it is not what was registered.
    """
    from cascade.ensemble import Ensemble
    from curation.stages.compare import compare as run

    name, registry = _name(samples), _registry()
    asked = [registry.version(name, one).version for one in (first, second)]
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        return run(
            samples,
            {
                one: Ensemble.load(registry.download_version(name, one, Path(folder) / one))
                for one in asked
            },
        )


def _registry() -> Registry:
    from curation.tracking import Registry

    return Registry.of(connected())


def _name(samples: SampleCollection) -> str:
    """Return what a dataset's ensembles are registered as."""
    from curation.storage.collection import dataset_of

    return str(dataset_of(samples).name)
