"""Selection of the ensemble that works on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

    from cascade.checkpoints.licenses import LicenseKind
    from cascade.ensemble import Ensemble
    from curation.settings import Settings


def ensemble_for(
    samples: SampleCollection,
    settings: Settings,
    manifest: str | Path,
    taxonomy: str | None = None,
    strictest_license: LicenseKind | None = None,
    *,
    fresh: bool = False,
) -> Ensemble:
    """Return the ensemble of the manifest's last finished round, else that of the manifest itself.

    Args:
        samples: A FiftyOne dataset or view.
        settings: Settings with the home folder of rounds.
        manifest: A packaged name, or a YAML file.
        taxonomy: A packaged name, or a YAML file; None for the classes that the dataset was
            ingested with, else those of the manifest.
        strictest_license: Strictest license kind of the members; None for any.
        fresh: Whether to ignore past rounds.

    Raises:
        ManifestError: The manifest is wrong, or needs a member with a stricter license.
        CheckpointError: A member's weights are missing.
    """
    from cascade.ensemble import Ensemble
    from cascade.manifest import load as load_manifest
    from cascade.taxonomy import load as load_taxonomy
    from curation.storage import queries, rounds
    from curation.storage.collection import dataset_of

    dataset = dataset_of(samples)
    loaded = load_manifest(manifest)
    past = [] if fresh else rounds.finished_rounds(settings.home, dataset.name)
    trained = Ensemble.load(past[-1].ensemble) if past else None
    if trained and trained.manifest.name == loaded.name:
        return trained.restricted_to(strictest_license)
    classes = load_taxonomy(taxonomy) if taxonomy else queries.taxonomy_of(dataset)
    return Ensemble.from_manifest(loaded, taxonomy=classes, strictest_license=strictest_license)
