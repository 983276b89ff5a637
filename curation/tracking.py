"""The registry of ensembles: MLflow on a local file, or on any server.

An ensemble is one registered version; the alias `champion` says which one is in service,
`challenger` which one was judged last, `previous` what a rollback returns to. With
`ensemble_model.py`, this is the only file that knows MLflow; versions are always `str`.

Aliases move one at a time. They are moved in such an order that a call that was cut off is
finished by calling it again; two processes that promote at once are not kept apart here.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from curation.errors import PublishError

if TYPE_CHECKING:
    from curation.settings import Settings

Alias = Literal["champion", "challenger", "previous"]

_QUIET = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_IDENTITY = "ensemble"  # the tag with the ensemble's hash
_REPLACED = "replaced"  # the tag with the version that was champion before this one
_DISTRIBUTION = "cascade-curation"


@dataclass(frozen=True)
class Version:
    """One registered ensemble.

    Attributes:
        version: Its number, as text.
        ensemble: The ensemble's hash.
        aliases: `champion`, `challenger`, `previous`, or none.
        tags: What was noted with it.
    """

    version: str
    ensemble: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


class Registry:
    """The versions of ensembles, by the name of the data set that they serve.

    Args:
        uri: Where MLflow keeps them: `sqlite:///...`, or the address of a server.
        artifacts: Where files go when `uri` is a local file; a server decides by itself.
    """

    def __init__(self, uri: str, artifacts: Path) -> None:
        os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
        self._uri = uri
        self._artifacts = artifacts.absolute()
        self._connected: Any = None

    @classmethod
    def of(cls, settings: Settings) -> Registry:
        """Return the registry that the settings name."""
        return cls(settings.tracking_uri, settings.home / "mlartifacts")

    def register(
        self,
        ensemble: Path,
        *,
        name: str,
        identity: str,
        metrics: Mapping[str, float | None] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        dataset_hash: str = "",
        artifacts: Mapping[str, Path] | None = None,
    ) -> str:
        """Register the ensemble of a folder; return its version.

        An ensemble that is registered already keeps the version that it has.

        Args:
            ensemble: The folder that `Ensemble.save` wrote.
            name: What the registered model is called.
            identity: The ensemble's hash.
            metrics: Figures of its run; a None is left out.
            params: Settings of its run.
            tags: Noted with the run and with the version.
            dataset_hash: Which data it was made from.
            artifacts: More files to keep with its run, by the folder to put them in.

        Raises:
            PublishError: The registry cannot be reached, or refuses.
        """
        for one in self.versions(name):
            if one.ensemble == identity:
                return one.version
        noted = {_IDENTITY: identity, "dataset_hash": dataset_hash, **(tags or {})}
        with self._errors(f"The ensemble {identity} cannot be registered"), self._current():
            run_id, model = self._log(
                ensemble, name, noted, metrics or {}, params or {}, artifacts or {}
            )
            return self._create_version(name, run_id, model, noted)

    def versions(self, name: str) -> list[Version]:
        """Return all versions of a model, oldest first; none where it is not known."""
        aliases = self.aliases(name)
        with self._errors("The registry cannot be read"):
            found = self._client.search_model_versions(f"name = '{_model(name)}'")
            return sorted(
                (
                    Version(
                        version=str(one.version),
                        ensemble=one.tags.get(_IDENTITY, ""),
                        aliases=tuple(a for a, v in aliases.items() if v == str(one.version)),
                        tags=dict(one.tags),
                    )
                    for one in found
                ),
                key=lambda one: int(one.version),
            )

    def champion(self, name: str) -> str | None:
        """Return the version in service, or None where none was promoted yet."""
        return self.aliases(name).get("champion")

    def challenge(self, name: str, version: str) -> None:
        """Note which version is judged against the champion."""
        self._set(name, "challenger", version)

    def promote(self, name: str, version: str, verdict: str) -> None:
        """Put a version into service, and remember which one it replaced.

        Args:
            name: Of the registered model.
            version: What becomes champion.
            verdict: Why, in a word: noted with the version.
        """
        champion = self.champion(name)
        self.note(name, version, verdict=verdict)
        if champion not in (None, version):
            self.note(name, version, **{_REPLACED: str(champion)})
            self._set(name, "previous", str(champion))
        self._set(name, "champion", version)  # what was cut off before this has moved nothing
        if self.aliases(name).get("challenger") == version:
            self._unset(name, "challenger")

    def rollback(self, name: str) -> str:
        """Put the version that the champion replaced back into service; return it.

        Raises:
            PublishError: The champion has replaced none.
        """
        tags = {one.version: one.tags for one in self.versions(name)}
        champion = self.champion(name)
        before = tags[champion].get(_REPLACED) if champion else None
        if champion is None or before is None:
            raise PublishError(
                f"The champion of {name!r} (version {champion or 'none'}) has replaced no other "
                "version, so there is nothing to go back to."
            )
        self.note(name, champion, withdrawn="true")
        self._set(name, "champion", before)
        earlier = tags[before].get(_REPLACED)
        if earlier is None:
            self._unset(name, "previous")
        else:
            self._set(name, "previous", earlier)
        return before

    def aliases(self, name: str) -> dict[str, str]:
        """Return the version behind each alias; none where the model is not known."""
        with self._errors("The registry cannot be read"):
            # NOTE: what a search returns has no aliases; only the registered model itself does.
            if not self._client.search_registered_models(f"name = '{_model(name)}'"):
                return {}
            model = self._client.get_registered_model(_model(name))
            return {alias: str(version) for alias, version in model.aliases.items()}

    def note(self, name: str, version: str, **tags: str) -> None:
        """Add tags to a version."""
        with self._errors(f"Version {version} of {name!r} cannot be noted on"):
            for key, value in tags.items():
                self._client.set_model_version_tag(_model(name), version, key, value)

    def download(self, name: str, alias: Alias, to: Path) -> Path:
        """Fetch the ensemble behind an alias into the folder `to`, whole or not at all.

        Raises:
            PublishError: Nothing has that alias, or its files cannot be had.
        """
        if alias not in self.aliases(name):
            raise PublishError(
                f"No version of {name!r} is {alias}. Publish an ensemble first: `curate publish`."
            )
        to.parent.mkdir(parents=True, exist_ok=True)
        with (
            self._errors(f"The {alias} of {name!r} cannot be fetched"),
            self._current(),
            tempfile.TemporaryDirectory(prefix=".download-", dir=to.parent) as temporary,
        ):
            version = self._client.get_model_version_by_alias(_model(name), alias)
            fetched = self._fetch(version.source, temporary)
            if to.exists():
                shutil.rmtree(to)
            os.replace(fetched, to)
        return to

    @property
    def _client(self) -> Any:
        if self._connected is None:
            with _hushed():
                from mlflow import MlflowClient

                _make_room(self._uri)
                self._connected = MlflowClient(self._uri, self._uri)
        return self._connected

    def _set(self, name: str, alias: Alias, version: str) -> None:
        with self._errors(f"Version {version} of {name!r} cannot become {alias}"):
            self._client.set_registered_model_alias(_model(name), alias, version)

    def _unset(self, name: str, alias: Alias) -> None:
        with self._errors(f"{name!r} cannot lose its {alias}"):
            self._client.delete_registered_model_alias(_model(name), alias)

    def _log(
        self,
        ensemble: Path,
        name: str,
        tags: Mapping[str, str],
        metrics: Mapping[str, float | None],
        params: Mapping[str, Any],
        artifacts: Mapping[str, Path],
    ) -> tuple[str, Any]:
        """Write the run with its figures, files and model; return its id and the model's info."""
        import mlflow

        from curation import ensemble_model

        with mlflow.start_run(
            experiment_id=self._experiment(name),
            nested=mlflow.active_run() is not None,
            tags=dict(tags),
        ) as run:
            mlflow.log_metrics({key: one for key, one in metrics.items() if one is not None})
            mlflow.log_params(dict(params))
            for folder, path in artifacts.items():
                mlflow.log_artifact(str(path), folder)
            model = mlflow.pyfunc.log_model(
                name="ensemble",
                python_model=str(Path(ensemble_model.__file__)),
                artifacts={ensemble_model.ARTIFACT: str(ensemble)},
                signature=ensemble_model.SIGNATURE,
                pip_requirements=[_requirement()],
            )
        return run.info.run_id, model

    def _experiment(self, name: str) -> str:
        known = self._client.get_experiment_by_name(_model(name))
        if known is not None:
            return str(known.experiment_id)
        local = self._uri.startswith("sqlite:")
        place = self._artifacts.joinpath(_model(name)).as_uri() if local else None
        return str(self._client.create_experiment(_model(name), place))

    def _create_version(self, name: str, run_id: str, model: Any, tags: Mapping[str, str]) -> str:
        known = self._client.search_registered_models(f"name = '{_model(name)}'")
        if not known:
            self._client.create_registered_model(_model(name))
        made = self._client.create_model_version(
            _model(name), model.model_uri, run_id, tags=dict(tags), model_id=model.model_id
        )
        return str(made.version)

    def _fetch(self, uri: str, into: str) -> Path:
        """Download a model; return the ensemble's folder in it."""
        from mlflow.artifacts import download_artifacts
        from mlflow.models import Model

        from curation.ensemble_model import ARTIFACT

        folder = Path(download_artifacts(artifact_uri=uri, dst_path=into))
        flavour = Model.load(str(folder)).flavors["python_function"]
        return folder / str(flavour["artifacts"][ARTIFACT]["path"])

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Have MLflow's fluent calls go to this registry, and give them back afterwards.

        MLflow writes the address into the environment as well, where our settings, and every
        process started from here, would find it.
        """
        with _hushed():
            import mlflow
        before = os.environ.get("MLFLOW_TRACKING_URI")
        mlflow.set_tracking_uri(self._uri)
        try:
            with _hushed():
                yield
        finally:
            mlflow.set_tracking_uri(before)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn MLflow's errors, and the disk's, into ours."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            raise PublishError(
                f"{what} ({self._uri}): {error.message} "
                "MLFLOW_TRACKING_URI says where ensembles are registered."
            ) from error
        except OSError as error:
            raise PublishError(f"{what} ({self._uri}): {error}.") from error


def champion_folder(name: str, settings: Settings, *, into: Path) -> Path | None:
    """Return the folder of the champion, fetched into `into`; None where there is none yet."""
    registry = Registry.of(settings)
    if registry.champion(name) is None:
        return None
    return registry.download(name, "champion", into)


def _model(name: str) -> str:
    """Return a data set's name as MLflow takes it; two names never become one."""
    allowed = re.sub(r"""[/:'"%]""", "-", name)
    if allowed == name:
        return name
    return f"{allowed}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _requirement() -> str:
    """Return this package as a requirement; unpinned where it runs without being installed."""
    try:
        return f"{_DISTRIBUTION}=={metadata.version(_DISTRIBUTION)}"
    except metadata.PackageNotFoundError:
        return _DISTRIBUTION


def _make_room(uri: str) -> None:
    """Make the folder of a local store, which SQLite does not."""
    path = uri.removeprefix("sqlite:///")
    if path != uri:
        Path(path).parent.mkdir(parents=True, exist_ok=True)


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep what MLflow says to developers from the one who publishes.

    It warns that no input example was given (one would run the models), that this package is
    not installed from an index, of its own type hints and of its own use of SQLAlchemy.
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
