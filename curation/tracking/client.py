"""MLflow connection: client, fluent API, quiet logging and translated errors."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curation.errors import PublishError
from curation.secrets import without_password

_VARIABLES = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class Connection:
    """Connection to an MLflow store, a local file or a server.

    Args:
        uri: `sqlite:///...`, or the address of a server.
        artifacts: Folder of artifacts for a local store; a server has its own.
    """

    def __init__(self, uri: str, artifacts: Path) -> None:
        os.environ.update({name: os.environ.get(name, value) for name, value in _VARIABLES.items()})
        self.uri = uri
        self._artifacts = artifacts.absolute()
        self._client: Any = None

    @property
    def client(self) -> Any:
        """The MLflow client, created on first use, because importing MLflow takes seconds."""
        if self._client is None:
            with quiet_mlflow():
                from mlflow import MlflowClient

                _create_store_folder(self.uri)
                self._client = MlflowClient(self.uri, self.uri)
        return self._client

    def experiment_id(self, name: str) -> str:
        """Return the id of a dataset's experiment, which is created if necessary."""
        experiment = self.client.get_experiment_by_name(model_name(name))
        if experiment is not None:
            return str(experiment.experiment_id)
        local = self.uri.startswith("sqlite:")
        location = self._artifacts.joinpath(model_name(name)).as_uri() if local else None
        return str(self.client.create_experiment(model_name(name), location))

    @contextmanager
    def as_default(self) -> Iterator[None]:
        """Direct MLflow's fluent API to this store, and restore the previous one at the end.

        MLflow also writes the address to the environment, which settings and child processes
        would read.
        """
        with quiet_mlflow():
            import mlflow
        previous = os.environ.get("MLFLOW_TRACKING_URI")
        mlflow.set_tracking_uri(self.uri)
        try:
            with quiet_mlflow():
                yield
        finally:
            mlflow.set_tracking_uri(previous)

    @contextmanager
    def translate_errors(self, problem: str) -> Iterator[None]:
        """Raise MLflow's errors and file errors as `PublishError`, with a sentence before them."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            raise PublishError(
                f"{problem} ({without_password(self.uri)}): {without_password(error.message)} "
                "Check MLFLOW_TRACKING_URI, the store of registered ensembles."
            ) from None  # the original message contains the password
        except OSError as error:
            raise PublishError(
                f"{problem} ({without_password(self.uri)}): {without_password(str(error))}."
            ) from None


def model_name(name: str) -> str:
    """Return a dataset's name in the characters that MLflow allows; names stay unique."""
    allowed = re.sub(r"""[/:'"%]""", "-", name)
    if allowed == name:
        return name
    return f"{allowed}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Suppress MLflow's warnings to developers.

    It warns about a package that is not installed from an index, its own type hints and its use
    of SQLAlchemy.
    """
    import mlflow  # noqa: F401 - its import configures the loggers changed below

    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _create_store_folder(uri: str) -> None:
    """Create the folder of a local store, because SQLite does not."""
    path = uri.removeprefix("sqlite:///")
    if path != uri:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
