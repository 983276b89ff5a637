"""The run of a registered version once more, in Weights & Biases: for teams that look there.

An option: `pip install cascade-curation[wandb]`. Only this file knows W&B. With
`WANDB_MODE=offline` nothing leaves the machine; `wandb sync` sends it later.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from curation.errors import PublishError
from curation.tracking.client import Connection
from curation.tracking.registry.versions import FILES, Registry

_EPOCH = "epoch"
_CURVES = ("train_loss", "val_map50")  # the last part of a metric's name that has a step


def mirror(registry: Registry, name: str, version: str, *, project: str, folder: Path) -> str:
    """Copy the run of a version into a W&B project; return the folder or address of the copy.

    Args:
        registry: Where the version is.
        name: Of the registered model.
        version: The version.
        project: The W&B project.
        folder: Where W&B keeps its files on this machine.

    Raises:
        PublishError: W&B is not installed or refuses, or there is no such version.
    """
    try:
        import wandb
    except ModuleNotFoundError as error:
        raise PublishError(
            "Weights & Biases is not installed: `pip install cascade-curation[wandb]`."
        ) from error
    found = {one.version: one for one in registry.versions(name)}
    if version not in found or not found[version].run_id:
        raise PublishError(f"There is no version {version} of {name!r} with a run to mirror.")
    one = found[version]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="mirror-", dir=folder) as temporary,
            wandb.init(
                project=project,
                name=f"{name} v{version}",
                id=one.run_id,
                resume="allow",
                dir=str(folder),
                config=_config(registry, one.run_id, one.tags),
            ) as run,
        ):
            for step in _steps(registry, one.run_id):
                run.log(dict(step))
            run.summary.update(_final(registry, one.run_id))
            for path in _files(registry, one.run_id, Path(temporary)):
                # Copied: W&B's own `save` links to where it found the file, which goes away.
                kept = Path(run.dir) / path.relative_to(temporary)
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, kept)
                run.save(str(kept), base_path=run.dir, policy="now")
            return str(run.url or run.dir)
    except wandb.Error as error:
        raise PublishError(f"W&B did not take the run of version {version}: {error}.") from error


def _config(registry: Registry, run_id: str, tags: Mapping[str, str]) -> dict[str, Any]:
    params = _client(registry).get_run(run_id).data.params
    return {**params, **{f"tag/{key}": one for key, one in tags.items() if key != FILES}}


def _final(registry: Registry, run_id: str) -> dict[str, float]:
    metrics: dict[str, float] = _client(registry).get_run(run_id).data.metrics
    return metrics


def _steps(registry: Registry, run_id: str) -> Iterator[Mapping[str, float]]:
    """Give what was measured in each epoch, in order."""
    client = _client(registry)
    by_epoch: dict[int, dict[str, float]] = {}
    for key in client.get_run(run_id).data.metrics:
        if key.rpartition("/")[2] in _CURVES:
            for point in client.get_metric_history(run_id, key):
                by_epoch.setdefault(point.step, {_EPOCH: point.step})[key] = point.value
    yield from (by_epoch[epoch] for epoch in sorted(by_epoch))


def _files(registry: Registry, run_id: str, folder: Path) -> list[Path]:
    """Fetch the run's plots, tables and pages into a folder and return them."""
    _client(registry).download_artifacts(run_id, "", str(folder))
    return sorted(one for one in folder.rglob("*") if one.is_file())


def _client(registry: Registry) -> Any:
    connection: Connection = registry.connection
    return connection.client
