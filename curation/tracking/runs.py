"""Runs: what was done, on what, with which settings, and what it cost the machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from curation.tracking.client import Connection
from curation.tracking.run_contents import About

if TYPE_CHECKING:
    from curation.settings import Settings

_SAMPLED_S = 2.0  # between two readings of the machine
_AT_ONCE = 100  # parameters a request: MLflow's limit
_METRICS_AT_ONCE = 1000  # likewise


class Runs:
    """The runs of data sets, in an MLflow."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def of(cls, settings: Settings) -> Runs:
        """Return the runs in the MLflow that the settings name."""
        return cls(Connection(settings.tracking_uri, settings.home / "mlartifacts"))

    @contextmanager
    def open(
        self,
        name: str,
        *,
        run_id: str | None = None,
        called: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> Iterator[str]:
        """Give the id of a run that is under way until the block ends.

        Meanwhile the machine is watched: processor, memory, disk, network, GPUs.

        Args:
            name: Of the data set.
            run_id: A run to go on with; None for a new one.
            called: What a new run is called.
            tags: Noted with it.

        Raises:
            PublishError: The tracking server cannot be reached, or refuses.
        """
        with self._connection.errors("The run cannot be tracked"):
            run_id = run_id or self._begin(name, called)
            for key, value in (tags or {}).items():
                self._client.set_tag(run_id, key, value)
            self._client.update_run(run_id, status="RUNNING")
        ended = "FAILED"
        try:
            with self._watched(run_id):
                yield run_id
            ended = "FINISHED"
        finally:
            with self._connection.errors("The run cannot be ended"):
                self._client.set_terminated(run_id, ended)

    def keep(self, run_id: str, about: About) -> None:
        """Add content to a run: see `About`.

        Raises:
            PublishError: The tracking server cannot be reached, or refuses.
        """
        from mlflow.entities import Param

        from curation.tracking.dataset_source import dataset_input

        client = self._client
        with self._connection.errors("The run cannot be written"):
            params = [Param(key, str(value)) for key, value in about.params.items()]
            for start in range(0, len(params), _AT_ONCE):
                client.log_batch(run_id, params=params[start : start + _AT_ONCE])
            points = _points(about)
            for start in range(0, len(points), _METRICS_AT_ONCE):
                client.log_batch(run_id, metrics=points[start : start + _METRICS_AT_ONCE])
            if about.inputs:
                client.log_inputs(run_id, [dataset_input(one) for one in about.inputs])
            for title, figure in about.figures.items():
                client.log_figure(run_id, figure, f"plots/{title}.png")
            for title, table in about.tables.items():
                client.log_dict(run_id, table, f"tables/{title}.json")
            for title, text in about.pages.items():
                client.log_text(run_id, text, title)
            for folder, path in about.files.items():
                client.log_artifact(run_id, str(path), folder)

    @property
    def _client(self) -> Any:
        return self._connection.client

    def _begin(self, name: str, called: str) -> str:
        from mlflow.tracking.context.registry import resolve_tags

        run = self._client.create_run(
            self._connection.experiment(name), run_name=called or None, tags=resolve_tags()
        )
        return str(run.info.run_id)

    @contextmanager
    def _watched(self, run_id: str) -> Iterator[None]:
        """Read the machine now, every `_SAMPLED_S`, and at the end."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(
            run_id,
            sampling_interval=_SAMPLED_S,
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


def _points(about: About) -> list[Any]:
    """Return metrics and curves as MLflow's points; an epoch is a step, from 1."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    points = [Metric(key, one, now, 0) for key, one in about.metrics.items() if one is not None]
    return points + [
        Metric(key, value, now, epoch)
        for key, values in about.curves.items()
        for epoch, value in _known(values)
    ]


def _known(values: Sequence[float | None]) -> list[tuple[int, float]]:
    return [(epoch, one) for epoch, one in enumerate(values, start=1) if one is not None]
