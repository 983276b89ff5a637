"""A dataset, and the ensemble that works on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.settings import Settings, from_environment
from curation.storage.database import connection

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

    from cascade.checkpoints.licenses import Kind
    from cascade.ensemble import Ensemble

DEMO_DRIVES = {"train": 12, "val": 5, "test": 10}  # the gate wants ten drives
_DEMO_TAXONOMY = "roadwork_core"  # the classes that the scenes are drawn with


def connected(dataset: str | None = None) -> Settings:
    """Read the environment and connect to the database: see `storage.database.connection`.

    Where FiftyOne is imported already, its database stays the one.

    Args:
        dataset: The name of the dataset that is asked for; it may lie in the user's own database.
    """
    settings = from_environment()
    connection.connect(settings, dataset=dataset)
    return settings


def load(name: str) -> Any:
    """Return the FiftyOne dataset of a name, from our database or the user's own.

    Example:
        >>> dataset = cu.load("quickstart")

    Args:
        name: Of the dataset; see `fiftyone.list_datasets()`.

    Raises:
        DatasetError: There is none; the message names the nearest.
    """
    from curation.storage import queries

    connected(name)
    return queries.load_dataset(name)


def demo_dataset(
    name: str = "demo", *, drives: Mapping[str, int] | None = None, seed: int = 0
) -> Any:
    """Return a small dataset of rendered road-work scenes, made where it is not there yet.

    Its training labels are held back, so that the labeler `oracle` can play the people.

    Example:
        >>> dataset = cu.demo_dataset()
        >>> dataset.count_values("split")

    Args:
        name: Of the dataset.
        drives: How many drives for each of `train`, `val`, `test`; about eight images each.
        seed: Which world.

    Raises:
        DemoFolderError: There are scenes of that name already, from other drives or seeds.
    """
    from cascade import taxonomy
    from curation.demo.dataset import write_dataset
    from curation.stages.ingest import ingest
    from curation.storage import queries

    settings = connected(name)
    folder = write_dataset(
        settings.dataset_folder(name) / "scenes",
        n_drives_by_split=drives or DEMO_DRIVES,
        seed=seed,
    )
    classes = taxonomy.load(_DEMO_TAXONOMY)
    ingest(folder, name=name, taxonomy=classes, settings=settings, hold_back=True)
    return queries.load_dataset(name)


def ensemble(
    samples: SampleCollection,
    manifest: str | Path = "tiny",
    *,
    taxonomy: str | None = None,
    licence: Kind | None = None,
    fresh: bool = False,
) -> Ensemble:
    """Return the ensemble that works on a dataset: what its last round trained, else the manifest.

    Example:
        >>> cu.ensemble(dataset, "tiny").detectors
        ('tiny_center', 'tiny_rtdetr', 'tiny_yolo')

    Args:
        samples: A FiftyOne dataset or view.
        manifest: A packaged name, or a YAML file. Of another one nothing was trained yet.
        taxonomy: A packaged name, or a YAML file; None for the classes that the dataset was
            ingested with, else those that the manifest names.
        licence: The strictest kind of licence that members may have; None for any.
        fresh: Whether to leave past rounds aside.

    Raises:
        ManifestError: The manifest is wrong, or needs a member of a stricter licence.
        CheckpointError: A member's weights are absent.
    """
    from cascade import manifest as manifests
    from cascade import taxonomy as taxonomies
    from cascade.ensemble import Ensemble
    from curation.storage import queries as query
    from curation.storage import rounds

    dataset = query.dataset_of(samples)
    wanted = manifests.load(manifest)
    past = [] if fresh else rounds.finished(from_environment().home, dataset.name)
    trained = Ensemble.load(past[-1].ensemble) if past else None
    if trained and trained.manifest.name == wanted.name:
        return trained.restricted_to(licence)
    classes = taxonomies.load(taxonomy) if taxonomy else query.taxonomy_of(dataset)
    return Ensemble.from_manifest(wanted, taxonomy=classes, licence=licence)
