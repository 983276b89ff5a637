"""Registered ensembles: versions with checksums, and aliases."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from curation.errors import PublishError
from curation.tracking.client import Connection, model_name, quiet_mlflow
from curation.tracking.environment import requirement
from curation.tracking.registry import checksums
from curation.tracking.registry.checksums import FileChecksum
from curation.tracking.run_contents import RunContents
from curation.tracking.runs import Runs

if TYPE_CHECKING:
    from curation.settings import Settings

Alias = Literal["champion", "challenger", "previous"]

IDENTITY = "ensemble"  # tag: hash of the ensemble
FILES = "files"  # tag: checksums of all files, see `checksums`


@dataclass(frozen=True)
class Version:
    """One registered ensemble.

    Attributes:
        version: Version number, as text.
        ensemble: Hash of the ensemble.
        aliases: Any of `champion`, `challenger`, `previous`.
        tags: Tags of the version.
        run_id: Id of the run that produced it.
    """

    version: str
    ensemble: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    run_id: str = ""


class Registry:
    """Versions of ensembles, by the name of their dataset.

    Args:
        uri: MLflow store: `sqlite:///...`, or the address of a server.
        artifacts: Folder of artifacts for a local store; a server has its own.
    """

    def __init__(self, uri: str, artifacts: Path) -> None:
        self.connection = Connection(uri, artifacts)

    @classmethod
    def from_settings(cls, settings: Settings) -> Registry:
        """Return the registry in the store of the settings."""
        return cls(settings.tracking_uri, settings.home / "mlartifacts")

    @property
    def uri(self) -> str:
        """Address of the MLflow store."""
        return self.connection.uri

    def register(
        self,
        ensemble: Path,
        *,
        name: str,
        identity: str,
        contents: RunContents | None = None,
        tags: Mapping[str, str] | None = None,
        run_id: str | None = None,
    ) -> str:
        """Register the ensemble in a folder and return its version.

        A registered ensemble keeps its version. A version is created only after all of its
        files are stored.

        Args:
            ensemble: Folder written by `Ensemble.save`.
            name: Name of the registered model.
            identity: Hash of the ensemble.
            contents: Contents of its run.
            tags: Tags of the run and the version.
            run_id: Run to resume, such as that of the training; None for a new one.

        Raises:
            PublishError: The registry cannot be reached or rejects the request.
        """
        for version in self.versions(name):
            if version.ensemble == identity:
                return version.version
        all_tags = {IDENTITY: identity, **(tags or {})}
        runs = Runs(self.connection)
        with (
            self.connection.translate_errors(f"Cannot register the ensemble {identity}"),
            quiet_mlflow(),
            runs.open(name, run_id=run_id, run_name=identity, tags=all_tags) as run,
            tempfile.TemporaryDirectory(prefix="register-") as temporary,
        ):
            runs.log(run, contents or RunContents())
            model, folder = self._save(ensemble, Path(temporary) / "model", name, run)
            files = checksums.to_text(checksums.of_folder(folder))
            return self._create_version(name, run, model, {**all_tags, FILES: files})

    def versions(self, name: str) -> list[Version]:
        """Return all versions of a model, oldest first; empty if it does not exist."""
        aliases = self.aliases(name)
        with self.connection.translate_errors("Cannot read the registry"):
            versions = [
                Version(
                    version=str(model.version),
                    ensemble=model.tags.get(IDENTITY, ""),
                    aliases=tuple(a for a, v in aliases.items() if v == str(model.version)),
                    tags=dict(model.tags),
                    run_id=str(model.run_id or ""),
                )
                for model in self._client.search_model_versions(f"name = '{model_name(name)}'")
            ]
        return sorted(versions, key=lambda version: int(version.version))

    def version(self, name: str, number_or_alias: str) -> Version:
        """Return a version by its number or its alias.

        Raises:
            PublishError: The version does not exist; the message lists all versions.
        """
        versions = self.versions(name)
        for version in versions:
            if number_or_alias in (version.version, *version.aliases):
                return version
        listed = ", ".join(" ".join([v.version, *v.aliases]) for v in versions) or "none"
        raise PublishError(
            f"{name!r} has no version {number_or_alias!r}. Registered versions: {listed}."
        )

    def champion(self, name: str) -> str | None:
        """Return the version in service; None if no version was promoted yet."""
        return self.aliases(name).get("champion")

    def set_challenger(self, name: str, version: str) -> None:
        """Mark the version to judge against the champion."""
        self.set_alias(name, "challenger", version)

    def aliases(self, name: str) -> dict[str, str]:
        """Return the version of each alias; empty if the model does not exist."""
        with self.connection.translate_errors("Cannot read the registry"):
            # NOTE: search results have no aliases; only the registered model itself does.
            if not self._client.search_registered_models(f"name = '{model_name(name)}'"):
                return {}
            model = self._client.get_registered_model(model_name(name))
            return {alias: str(version) for alias, version in model.aliases.items()}

    def set_alias(self, name: str, alias: str, version: str | None) -> None:
        """Set or delete an alias, atomically.

        Promotion and rollback must use `promotion.Promotions`, which guards them.
        """
        with self.connection.translate_errors(
            f"Cannot make version {version} of {name!r} the {alias}"
        ):
            if version is not None:
                self._client.set_registered_model_alias(model_name(name), alias, version)
            elif alias in self.aliases(name):
                self._client.delete_registered_model_alias(model_name(name), alias)

    def set_tags(self, name: str, version: str, **tags: str) -> None:
        """Set tags of a version."""
        with self.connection.translate_errors(f"Cannot tag version {version} of {name!r}"):
            for key, value in tags.items():
                self._client.set_model_version_tag(model_name(name), version, key, value)

    def check_sizes(self, name: str, version: str) -> None:
        """Check that all files of a version exist with their sizes, without reading them.

        Raises:
            PublishError: Files are missing or have another size; the message names them.
        """
        model_id, files = _model_id(self._get(name, version)), self._checksums(name, version)
        problem = f"Cannot list the files of version {version}"
        with self.connection.translate_errors(problem), quiet_mlflow():
            sizes = dict(self._list_files(model_id))
        wrong = [path for path, file in files.items() if sizes.get(path, file.size) != file.size]
        missing = [path for path in files if path not in sizes]
        if wrong or missing:
            raise PublishError(
                f"Version {version} of {name!r} is incomplete: {', '.join(wrong + missing)} "
                "is missing or has another size than registered. The champion is not changed."
            )

    def verify(self, name: str, version: str) -> None:
        """Check that all files of a version are unchanged, reading all of them.

        Raises:
            PublishError: Files differ; the message names them.
        """
        with self._model(name, version):
            pass

    def download(self, name: str, alias: Alias, to: Path) -> Path:
        """Download the ensemble of an alias to the folder `to`, atomically.

        Raises:
            PublishError: No version has the alias, its files cannot be downloaded, or a file
                differs from what was registered.
        """
        version = self.aliases(name).get(alias)
        if version is None:
            raise PublishError(
                f"No version of {name!r} is {alias}. Publish an ensemble first: `curate publish`."
            )
        return self.download_version(name, version, to)

    def download_version(self, name: str, version: str, to: Path) -> Path:
        """Download the ensemble of a version to the folder `to`: see `download`."""
        to.parent.mkdir(parents=True, exist_ok=True)
        with (
            self._model(name, version) as folder,
            self.connection.translate_errors(f"Cannot download version {version} of {name!r}"),
            tempfile.TemporaryDirectory(prefix=".download-", dir=to.parent) as temporary,
        ):
            draft = shutil.copytree(_ensemble_folder(folder), Path(temporary) / "ensemble")
            if to.exists():
                shutil.rmtree(to)
            os.replace(draft, to)
        return to

    @property
    def _client(self) -> Any:
        return self.connection.client

    def _save(self, ensemble: Path, folder: Path, name: str, run_id: str) -> tuple[Any, Path]:
        """Log the ensemble as a model of the run; return the model and the folder of its files.

        NOTE: `log_model` would load every member and predict the input example.
        """
        from mlflow import pyfunc
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        from curation.tracking.registry import ensemble_model

        hashes = folder.with_name("files.txt")
        hashes.write_text(checksums.to_text(checksums.of_folder(ensemble)))
        logged = self._client.create_logged_model(
            self.connection.experiment_id(name), name="ensemble", source_run_id=run_id
        )
        pyfunc.save_model(
            str(folder),
            mlflow_model=Model(run_id=run_id, model_id=logged.model_id),
            python_model=str(Path(ensemble_model.__file__)),
            artifacts={ensemble_model.ARTIFACT: str(ensemble), ensemble_model.FILES: str(hashes)},
            signature=ensemble_model.SIGNATURE,
            input_example=ensemble_model.input_example(),
            pip_requirements=[requirement()],
        )
        for cache in list(folder.rglob("__pycache__")):
            shutil.rmtree(cache)
        self._client.log_model_artifacts(logged.model_id, str(folder))
        self._client.log_outputs(run_id, models=[LoggedModelOutput(logged.model_id, step=0)])
        return self._client.finalize_logged_model(logged.model_id, "READY"), folder

    def _create_version(self, name: str, run_id: str, model: Any, tags: Mapping[str, str]) -> str:
        if not self._client.search_registered_models(f"name = '{model_name(name)}'"):
            self._client.create_registered_model(model_name(name))
        with self.connection.as_default():  # the client looks up the model by the fluent API
            created = self._client.create_model_version(
                model_name(name), model.model_uri, run_id, tags=dict(tags), model_id=model.model_id
            )
        return str(created.version)

    def _get(self, name: str, version: str) -> Any:
        with self.connection.translate_errors(f"Cannot find version {version} of {name!r}"):
            return self._client.get_model_version(model_name(name), version)

    def _checksums(self, name: str, version: str) -> dict[str, FileChecksum]:
        text = self._get(name, version).tags.get(FILES)
        if text is None:
            raise PublishError(
                f"Version {version} of {name!r} has no checksums, so its files cannot be "
                "verified. Publish the ensemble again."
            )
        return checksums.from_text(text)

    @contextmanager
    def _model(self, name: str, version: str) -> Iterator[Path]:
        """Download the files of a version and verify them; yield their folder."""
        from mlflow.artifacts import download_artifacts

        files, model_id = self._checksums(name, version), _model_id(self._get(name, version))
        with tempfile.TemporaryDirectory(prefix="version-") as temporary:
            with (
                self.connection.translate_errors(f"Cannot download version {version} of {name!r}"),
                quiet_mlflow(),
            ):
                location = self._client.get_logged_model(model_id).artifact_location
                folder = download_artifacts(
                    artifact_uri=location, dst_path=temporary, tracking_uri=self.uri
                )
            subject = f"Version {version} of {name!r}"
            checksums.verify(Path(folder), files, subject=subject)
            yield Path(folder)

    def _list_files(self, model_id: str) -> Iterator[tuple[str, int]]:
        """Yield the path and size of every file of a model."""
        folders: list[str | None] = [None]
        while folders:
            for entry in self._client.list_logged_model_artifacts(model_id, folders.pop()):
                if entry.is_dir:
                    folders.append(entry.path)
                else:
                    yield entry.path, int(entry.file_size)


def champion_folder(name: str, settings: Settings, *, into: Path) -> Path | None:
    """Download the champion to `into`, and return the folder; None if there is no champion.

    Raises:
        PublishError: A file differs from what was registered.
    """
    registry = Registry.from_settings(settings)
    if registry.champion(name) is None:
        return None
    return registry.download(name, "champion", into)


def _model_id(version: Any) -> str:
    """Return the id of a version's model; a local store returns only its URI."""
    return str(version.source).removeprefix("models:/")


def _ensemble_folder(folder: Path) -> Path:
    """Return the ensemble's folder within the folder of a model."""
    from mlflow.models import Model

    from curation.tracking.registry.ensemble_model import ARTIFACT

    flavor = Model.load(str(folder)).flavors["python_function"]
    return folder / str(flavor["artifacts"][ARTIFACT]["path"])
