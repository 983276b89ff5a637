"""Copies of runs in Weights & Biases, for teams that use it.

Optional: `pip install cascade-curation[wandb]`. Only this module imports W&B. With
`WANDB_MODE=offline`, the copy stays on the machine until `wandb sync` uploads it.
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
_CURVES = ("train_loss", "val_map50")  # last part of the names of metrics by epoch


def mirror(registry: Registry, name: str, version: str, *, project: str, folder: Path) -> str:
    """Copy the run of a version into a W&B project; return the folder or address of the copy.

    Args:
        registry: Registry of the version.
        name: Name of the registered model.
        version: Version number.
        project: W&B project.
        folder: Folder of W&B's files on this machine.

    Raises:
        PublishError: W&B is not installed or rejects the request, or the version does not exist.
    """
    try:
        import wandb
    except ModuleNotFoundError as error:
        raise PublishError(
            "Weights & Biases is not installed. Run `pip install cascade-curation[wandb]`."
        ) from error
    source = registry.version(name, version)
    if not source.run_id:
        raise PublishError(f"Version {version} of {name!r} has no run to mirror.")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="mirror-", dir=folder) as temporary,
            wandb.init(
                project=project,
                name=f"{name} v{version}",
                id=source.run_id,
                resume="allow",
                dir=str(folder),
                config=_config(registry, source.run_id, source.tags),
            ) as run,
        ):
            for step in _steps(registry, source.run_id):
                run.log(dict(step))
            run.summary.update(_final_metrics(registry, source.run_id))
            for path in _files(registry, source.run_id, Path(temporary)):
                # Copied, because W&B's `save` links to the file, which is temporary.
                copy = Path(run.dir) / path.relative_to(temporary)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
                run.save(str(copy), base_path=run.dir, policy="now")
            return str(run.url or run.dir)
    except wandb.Error as error:
        raise PublishError(f"W&B refused the run of version {version}: {error}.") from error


def _config(registry: Registry, run_id: str, tags: Mapping[str, str]) -> dict[str, Any]:
    params = _client(registry).get_run(run_id).data.params
    return {**params, **{f"tag/{key}": value for key, value in tags.items() if key != FILES}}


def _final_metrics(registry: Registry, run_id: str) -> dict[str, float]:
    metrics: dict[str, float] = _client(registry).get_run(run_id).data.metrics
    return metrics


def _steps(registry: Registry, run_id: str) -> Iterator[Mapping[str, float]]:
    """Yield the metrics of each epoch, in order."""
    client = _client(registry)
    by_epoch: dict[int, dict[str, float]] = {}
    for key in client.get_run(run_id).data.metrics:
        if key.rpartition("/")[2] in _CURVES:
            for point in client.get_metric_history(run_id, key):
                by_epoch.setdefault(point.step, {_EPOCH: point.step})[key] = point.value
    yield from (by_epoch[epoch] for epoch in sorted(by_epoch))


def _files(registry: Registry, run_id: str, folder: Path) -> list[Path]:
    """Download the run's plots, tables and pages to a folder; return their paths."""
    _client(registry).download_artifacts(run_id, "", str(folder))
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _client(registry: Registry) -> Any:
    connection: Connection = registry.connection
    return connection.client
