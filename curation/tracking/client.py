"""The way to MLflow: its client, its fluent calls, its noise and its errors, translated."""

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

_QUIET = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class Connection:
    """An MLflow, in a local file or on a server.

    Args:
        uri: Where it keeps things: `sqlite:///...`, or the address of a server.
        artifacts: Where files go when `uri` is a local file; a server decides by itself.
    """

    def __init__(self, uri: str, artifacts: Path) -> None:
        os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
        self.uri = uri
        self._artifacts = artifacts.absolute()
        self._connected: Any = None

    @property
    def client(self) -> Any:
        """MLflow's client, made at the first use: to import MLflow takes seconds."""
        if self._connected is None:
            with hushed():
                from mlflow import MlflowClient

                _make_room(self.uri)
                self._connected = MlflowClient(self.uri, self.uri)
        return self._connected

    def experiment(self, name: str) -> str:
        """Return the id of the experiment of a data set, made where there is none."""
        known = self.client.get_experiment_by_name(model_name(name))
        if known is not None:
            return str(known.experiment_id)
        local = self.uri.startswith("sqlite:")
        place = self._artifacts.joinpath(model_name(name)).as_uri() if local else None
        return str(self.client.create_experiment(model_name(name), place))

    @contextmanager
    def current(self) -> Iterator[None]:
        """Have MLflow's fluent calls go here, and give them back afterwards.

        MLflow writes the address into the environment as well, where our settings, and every
        process started from here, would find it.
        """
        with hushed():
            import mlflow
        before = os.environ.get("MLFLOW_TRACKING_URI")
        mlflow.set_tracking_uri(self.uri)
        try:
            with hushed():
                yield
        finally:
            mlflow.set_tracking_uri(before)

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Turn MLflow's errors, and the disk's, into ours."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            raise PublishError(
                f"{what} ({without_password(self.uri)}): {without_password(error.message)} "
                "MLFLOW_TRACKING_URI says where ensembles are registered."
            ) from None  # its own words hold the password
        except OSError as error:
            raise PublishError(
                f"{what} ({without_password(self.uri)}): {without_password(str(error))}."
            ) from None


def model_name(name: str) -> str:
    """Return a data set's name as MLflow takes it; two names never become one."""
    allowed = re.sub(r"""[/:'"%]""", "-", name)
    if allowed == name:
        return name
    return f"{allowed}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


@contextmanager
def hushed() -> Iterator[None]:
    """Keep what MLflow says to developers from the one who publishes.

    It warns that this package is not installed from an index, of its own type hints and of its
    own use of SQLAlchemy.
    """
    import mlflow  # noqa: F401 - it sets its loggers up on import, over what is set below

    noisy = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [one.level for one in noisy]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in noisy:
            one.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for one, level in zip(noisy, levels, strict=True):
                one.setLevel(level)


def _make_room(uri: str) -> None:
    """Make the folder of a local store, which SQLite does not."""
    path = uri.removeprefix("sqlite:///")
    if path != uri:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
