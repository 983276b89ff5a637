"""Opening of datasets and of the ensemble that works on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from curation.api.deprecation import accept_licence
from curation.settings import Settings, from_environment
from curation.storage.database import connection

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

    from cascade.checkpoints.licenses import LicenseKind
    from cascade.ensemble import Ensemble

DEMO_DRIVES = {"train": 12, "val": 5, "test": 10}  # the gate needs ten drives
_DEMO_TAXONOMY = "roadwork_core"  # classes of the rendered scenes


def connected(dataset: str | None = None) -> Settings:
    """Read the settings and connect to the database; see `storage.database.connection`.

    A process that has imported FiftyOne keeps its database.

    Args:
        dataset: Name of the requested dataset, which may be in the user's FiftyOne database.
    """
    settings = from_environment()
    connection.connect(settings, dataset=dataset)
    return settings


def load(name: str) -> Dataset:
    """Load a FiftyOne dataset by name, from our database or the user's.

    Example:
        >>> dataset = cu.load("quickstart")

    Args:
        name: Name of the dataset; see `fiftyone.list_datasets()`.

    Raises:
        DatasetError: It does not exist; the message suggests similar names.
    """
    from curation.storage import queries

    connected(name)
    return queries.load_dataset(name)


def demo_dataset(
    name: str = "demo", *, drives: Mapping[str, int] | None = None, seed: int = 0
) -> Dataset:
    """Load a small dataset of rendered road-work scenes, created on first use.

    Its training labels are held back for the labeler `oracle`, which replaces people.

    Example:
        >>> dataset = cu.demo_dataset()
        >>> dataset.count_values("split")

    Args:
        name: Name of the dataset.
        drives: Drives in each of `train`, `val` and `test`, with about eight images each.
        seed: Random seed of the rendered world.

    Raises:
        DemoFolderError: Scenes with this name exist, from other drives or another seed.
    """
    from cascade import taxonomy
    from curation.demo.dataset import write_dataset
    from curation.pipeline.run_stage import run_ingest
    from curation.storage import queries

    settings = connected(name)
    folder = write_dataset(
        settings.dataset_folder(name) / "scenes",
        n_drives_by_split=drives or DEMO_DRIVES,
        seed=seed,
    )
    classes = taxonomy.load(_DEMO_TAXONOMY)
    run_ingest(folder, name=name, taxonomy=classes, settings=settings, hold_back=True)
    return queries.load_dataset(name)


@accept_licence
def ensemble(
    samples: SampleCollection,
    manifest: str | Path = "tiny",
    *,
    taxonomy: str | None = None,
    strictest_license: LicenseKind | None = None,
    fresh: bool = False,
) -> Ensemble:
    """Load the ensemble of a dataset: from its last finished round, else from the manifest.

    Example:
        >>> cu.ensemble(dataset, "tiny").detectors
        ('tiny_center', 'tiny_rtdetr', 'tiny_yolo')

    Args:
        samples: A FiftyOne dataset or view.
        manifest: A packaged name, or a YAML file; rounds of other manifests do not count.
        taxonomy: A packaged name, or a YAML file; None for the classes that the dataset was
            ingested with, else those of the manifest.
        strictest_license: Strictest license kind of the members; None for any.
        fresh: Whether to ignore past rounds.

    Raises:
        ManifestError: The manifest is wrong, or needs a member with a stricter license.
        CheckpointError: A member's weights are missing.
    """
    from curation.pipeline.dataset_ensemble import ensemble_for

    settings = from_environment()
    return ensemble_for(samples, settings, manifest, taxonomy, strictest_license, fresh=fresh)
