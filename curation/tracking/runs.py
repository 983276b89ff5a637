"""MLflow runs with parameters, metrics, data, artifacts and system metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from curation.tracking.client import Connection
from curation.tracking.run_contents import RunContents

if TYPE_CHECKING:
    from mlflow.entities import Metric

    from curation.settings import Settings

_SAMPLING_S = 2.0  # between two samples of system metrics
_PARAMS_PER_REQUEST = 100  # MLflow's limit
_METRICS_PER_REQUEST = 1000  # likewise


class Runs:
    """Runs of datasets in an MLflow store."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def from_settings(cls, settings: Settings) -> Runs:
        """Return the runs in the store of the settings."""
        return cls(Connection(settings.tracking_uri, settings.home / "mlartifacts"))

    @contextmanager
    def open(
        self,
        name: str,
        *,
        run_id: str | None = None,
        run_name: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> Iterator[str]:
        """Yield the id of a run, which is active until the block ends.

        System metrics are sampled meanwhile: CPU, memory, disk, network, GPUs.

        Args:
            name: Name of the dataset.
            run_id: Run to resume; None for a new one.
            run_name: Name of a new run.
            tags: Tags of the run.

        Raises:
            PublishError: The tracking server cannot be reached or rejects the request.
        """
        with self._connection.translate_errors("Cannot track the run"):
            run_id = run_id or self._create(name, run_name)
            for key, value in (tags or {}).items():
                self._client.set_tag(run_id, key, value)
            self._client.update_run(run_id, status="RUNNING")
        status = "FAILED"
        try:
            with self._system_metrics(run_id):
                yield run_id
            status = "FINISHED"
        finally:
            with self._connection.translate_errors("Cannot end the run"):
                self._client.set_terminated(run_id, status)

    def log(self, run_id: str, contents: RunContents) -> None:
        """Add contents to a run.

        Raises:
            PublishError: The tracking server cannot be reached or rejects the request.
        """
        from mlflow.entities import Param

        from curation.tracking.dataset_source import dataset_input

        client = self._client
        with self._connection.translate_errors("Cannot write to the run"):
            params = [Param(key, str(value)) for key, value in contents.params.items()]
            for start in range(0, len(params), _PARAMS_PER_REQUEST):
                client.log_batch(run_id, params=params[start : start + _PARAMS_PER_REQUEST])
            points = _points(contents)
            for start in range(0, len(points), _METRICS_PER_REQUEST):
                client.log_batch(run_id, metrics=points[start : start + _METRICS_PER_REQUEST])
            if contents.inputs:
                client.log_inputs(run_id, [dataset_input(data) for data in contents.inputs])
            for title, figure in contents.figures.items():
                client.log_figure(run_id, figure, f"plots/{title}.png")
            for title, table in contents.tables.items():
                client.log_dict(run_id, table, f"tables/{title}.json")
            for title, text in contents.pages.items():
                client.log_text(run_id, text, title)
            for folder, path in contents.files.items():
                client.log_artifact(run_id, str(path), folder)

    @property
    def _client(self) -> Any:
        return self._connection.client

    def _create(self, name: str, run_name: str) -> str:
        from mlflow.tracking.context.registry import resolve_tags

        run = self._client.create_run(
            self._connection.experiment_id(name), run_name=run_name or None, tags=resolve_tags()
        )
        return str(run.info.run_id)

    @contextmanager
    def _system_metrics(self, run_id: str) -> Iterator[None]:
        """Sample system metrics now, every `_SAMPLING_S`, and at the end."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(
            run_id,
            sampling_interval=_SAMPLING_S,
            resume_logging=True,
            tracking_uri=self._connection.uri,
        )
        monitor.collect_metrics()
        monitor.publish_metrics(monitor.aggregate_metrics())
        monitor.start()
        try:
            yield
        finally:
            monitor.finish()


def _points(contents: RunContents) -> list[Metric]:
    """Return metrics and curves as MLflow metrics; a step is an epoch, from 1."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    points = [(key, value, 0) for key, value in contents.metrics.items()]
    points += [
        (key, value, epoch)
        for key, values in contents.curves.items()
        for epoch, value in enumerate(values, start=1)
    ]
    return [Metric(key, value, now, step) for key, value, step in points if value is not None]
