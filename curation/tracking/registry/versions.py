"""The registered ensembles: versions with their files' hashes, and the aliases that name them."""

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
from curation.tracking.client import Connection, hushed, model_name
from curation.tracking.environment import requirement
from curation.tracking.registry import checksums
from curation.tracking.registry.checksums import File
from curation.tracking.run_contents import About
from curation.tracking.runs import Runs

if TYPE_CHECKING:
    from curation.settings import Settings

Alias = Literal["champion", "challenger", "previous"]

IDENTITY = "ensemble"  # the tag with the ensemble's hash
FILES = "files"  # the tag with every file's hash: see `file_hashes`


@dataclass(frozen=True)
class Version:
    """One registered ensemble.

    Attributes:
        version: Its number, as text.
        ensemble: The ensemble's hash.
        aliases: `champion`, `challenger`, `previous`, or none.
        tags: What was noted with it.
        run_id: The run that it came from.
    """

    version: str
    ensemble: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    run_id: str = ""


class Registry:
    """The versions of ensembles, by the name of the data set that they serve.

    Args:
        uri: Where MLflow keeps them: `sqlite:///...`, or the address of a server.
        artifacts: Where files go when `uri` is a local file; a server decides by itself.
    """

    def __init__(self, uri: str, artifacts: Path) -> None:
        self.connection = Connection(uri, artifacts)

    @classmethod
    def of(cls, settings: Settings) -> Registry:
        """Return the registry that the settings name."""
        return cls(settings.tracking_uri, settings.home / "mlartifacts")

    @property
    def uri(self) -> str:
        """Where MLflow keeps the versions."""
        return self.connection.uri

    def register(
        self,
        ensemble: Path,
        *,
        name: str,
        identity: str,
        about: About | None = None,
        tags: Mapping[str, str] | None = None,
        run_id: str | None = None,
    ) -> str:
        """Register the ensemble of a folder; return its version.

        An ensemble that is registered already keeps the version that it has. A version exists
        only once its files are kept, whole.

        Args:
            ensemble: The folder that `Ensemble.save` wrote.
            name: What the registered model is called.
            identity: The ensemble's hash.
            about: What its run keeps.
            tags: Noted with the run and with the version.
            run_id: The run to go on with, as of the training; None for a new one.

        Raises:
            PublishError: The registry cannot be reached, or refuses.
        """
        for one in self.versions(name):
            if one.ensemble == identity:
                return one.version
        noted = {IDENTITY: identity, **(tags or {})}
        runs = Runs(self.connection)
        with (
            self.connection.errors(f"The ensemble {identity} cannot be registered"),
            hushed(),
            runs.open(name, run_id=run_id, called=identity, tags=noted) as run,
            tempfile.TemporaryDirectory(prefix="register-") as temporary,
        ):
            runs.keep(run, about or About())
            model, folder = self._save(ensemble, Path(temporary) / "model", name, run)
            files = checksums.to_text(checksums.of_folder(folder))
            return self._create_version(name, run, model, {**noted, FILES: files})

    def versions(self, name: str) -> list[Version]:
        """Return all versions of a model, oldest first; none where it is not known."""
        aliases = self.aliases(name)
        with self.connection.errors("The registry cannot be read"):
            found = self._client.search_model_versions(f"name = '{model_name(name)}'")
            return sorted(
                (
                    Version(
                        version=str(one.version),
                        ensemble=one.tags.get(IDENTITY, ""),
                        aliases=tuple(a for a, v in aliases.items() if v == str(one.version)),
                        tags=dict(one.tags),
                        run_id=str(one.run_id or ""),
                    )
                    for one in found
                ),
                key=lambda one: int(one.version),
            )

    def version(self, name: str, asked: str) -> Version:
        """Return a version by its number or its alias.

        Raises:
            PublishError: There is none; the message lists those that there are.
        """
        known = self.versions(name)
        for one in known:
            if asked == one.version or asked in one.aliases:
                return one
        listed = ", ".join(" ".join([one.version, *one.aliases]) for one in known) or "none"
        raise PublishError(f"No version of {name!r} is {asked!r}. Registered: {listed}.")

    def champion(self, name: str) -> str | None:
        """Return the version in service, or None where none was promoted yet."""
        return self.aliases(name).get("champion")

    def challenge(self, name: str, version: str) -> None:
        """Note which version is judged against the champion."""
        self.set_alias(name, "challenger", version)

    def aliases(self, name: str) -> dict[str, str]:
        """Return the version behind each alias; none where the model is not known."""
        with self.connection.errors("The registry cannot be read"):
            # NOTE: what a search returns has no aliases; only the registered model itself does.
            if not self._client.search_registered_models(f"name = '{model_name(name)}'"):
                return {}
            model = self._client.get_registered_model(model_name(name))
            return {alias: str(version) for alias, version in model.aliases.items()}

    def set_alias(self, name: str, alias: str, version: str | None) -> None:
        """Have an alias name a version, or none: one step, done or not done.

        Promotion and rollback go through `promotion.Promotions`, which guards them.
        """
        with self.connection.errors(f"Version {version} of {name!r} cannot become {alias}"):
            if version is not None:
                self._client.set_registered_model_alias(model_name(name), alias, version)
            elif alias in self.aliases(name):
                self._client.delete_registered_model_alias(model_name(name), alias)

    def note(self, name: str, version: str, **tags: str) -> None:
        """Add tags to a version."""
        with self.connection.errors(f"Version {version} of {name!r} cannot be noted on"):
            for key, value in tags.items():
                self._client.set_model_version_tag(model_name(name), version, key, value)

    def expect_present(self, name: str, version: str) -> None:
        """Refuse a version of which a file is absent or of another size; reads no file.

        Raises:
            PublishError: Names the files.
        """
        found, files = self._get(name, version), self._files(name, version)
        with self.connection.errors(f"The files of version {version} cannot be listed"), hushed():
            sizes = dict(self._listing(_model_id(found)))
        wrong = [path for path, one in files.items() if sizes.get(path, one.size) != one.size]
        absent = [path for path in files if path not in sizes]
        if wrong or absent:
            raise PublishError(
                f"Version {version} of {name!r} is not complete: {', '.join(wrong + absent)} "
                "is absent or of another size than was registered. The champion stays."
            )

    def expect_untouched(self, name: str, version: str) -> None:
        """Refuse a version of which any byte differs from what was registered; reads them all.

        Raises:
            PublishError: Names the files.
        """
        with self._model(name, version):
            pass

    def download(self, name: str, alias: Alias, to: Path) -> Path:
        """Fetch the ensemble behind an alias into the folder `to`, whole or not at all.

        Raises:
            PublishError: Nothing has that alias, its files cannot be had, or one of them is not
                what was registered.
        """
        version = self.aliases(name).get(alias)
        if version is None:
            raise PublishError(
                f"No version of {name!r} is {alias}. Publish an ensemble first: `curate publish`."
            )
        return self.download_version(name, version, to)

    def download_version(self, name: str, version: str, to: Path) -> Path:
        """Fetch the ensemble of a version into the folder `to`: see `download`."""
        to.parent.mkdir(parents=True, exist_ok=True)
        with (
            self._model(name, version) as folder,
            self.connection.errors(f"Version {version} of {name!r} cannot be fetched"),
            tempfile.TemporaryDirectory(prefix=".download-", dir=to.parent) as temporary,
        ):
            draft = shutil.copytree(_ensemble_in(folder), Path(temporary) / "ensemble")
            if to.exists():
                shutil.rmtree(to)
            os.replace(draft, to)
        return to

    @property
    def _client(self) -> Any:
        return self.connection.client

    def _save(self, ensemble: Path, folder: Path, name: str, run_id: str) -> tuple[Any, Path]:
        """Keep the ensemble as a model of the run; return that and the folder of its files.

        NOTE: `log_model` would load every member and run the input example through them.
        """
        from mlflow import pyfunc
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        from curation.tracking.registry import ensemble_model as ensemble_model

        hashes = folder.with_name("files.txt")
        hashes.write_text(checksums.to_text(checksums.of_folder(ensemble)))
        kept = self._client.create_logged_model(
            self.connection.experiment(name), name="ensemble", source_run_id=run_id
        )
        pyfunc.save_model(
            str(folder),
            mlflow_model=Model(run_id=run_id, model_id=kept.model_id),
            python_model=str(Path(ensemble_model.__file__)),
            artifacts={ensemble_model.ARTIFACT: str(ensemble), ensemble_model.FILES: str(hashes)},
            signature=ensemble_model.SIGNATURE,
            input_example=ensemble_model.input_example(),
            pip_requirements=[requirement()],
        )
        for cache in list(folder.rglob("__pycache__")):
            shutil.rmtree(cache)
        self._client.log_model_artifacts(kept.model_id, str(folder))
        self._client.log_outputs(run_id, models=[LoggedModelOutput(kept.model_id, step=0)])
        return self._client.finalize_logged_model(kept.model_id, "READY"), folder

    def _create_version(self, name: str, run_id: str, model: Any, tags: Mapping[str, str]) -> str:
        known = self._client.search_registered_models(f"name = '{model_name(name)}'")
        if not known:
            self._client.create_registered_model(model_name(name))
        with self.connection.current():  # it looks the model up where fluent calls go
            made = self._client.create_model_version(
                model_name(name), model.model_uri, run_id, tags=dict(tags), model_id=model.model_id
            )
        return str(made.version)

    def _get(self, name: str, version: str) -> Any:
        with self.connection.errors(f"There is no version {version} of {name!r}"):
            return self._client.get_model_version(model_name(name), version)

    def _files(self, name: str, version: str) -> dict[str, File]:
        text = self._get(name, version).tags.get(FILES)
        if text is None:
            raise PublishError(
                f"Version {version} of {name!r} has no hashes of its files, so nobody can tell "
                "whether they are what was registered. Publish the ensemble again."
            )
        return checksums.from_text(text)

    @contextmanager
    def _model(self, name: str, version: str) -> Iterator[Path]:
        """Give the folder of a version's files, each of which is what was registered."""
        from mlflow.artifacts import download_artifacts

        files, model_id = self._files(name, version), _model_id(self._get(name, version))
        with tempfile.TemporaryDirectory(prefix="version-") as temporary:
            with (
                self.connection.errors(f"Version {version} of {name!r} cannot be fetched"),
                hushed(),
            ):
                where = self._client.get_logged_model(model_id).artifact_location
                fetched = download_artifacts(
                    artifact_uri=where, dst_path=temporary, tracking_uri=self.uri
                )
            checksums.expect(Path(fetched), files, what=f"Version {version} of {name!r}")
            yield Path(fetched)

    def _listing(self, model_id: str) -> Iterator[tuple[str, int]]:
        """Give the path and the size of every file that is kept of a model."""
        waiting: list[str | None] = [None]
        while waiting:
            for one in self._client.list_logged_model_artifacts(model_id, waiting.pop()):
                if one.is_dir:
                    waiting.append(one.path)
                else:
                    yield one.path, int(one.file_size)


def champion_folder(name: str, settings: Settings, *, into: Path) -> Path | None:
    """Return the folder of the champion, fetched into `into`; None where there is none yet.

    Raises:
        PublishError: A file of it is not what was registered.
    """
    registry = Registry.of(settings)
    if registry.champion(name) is None:
        return None
    return registry.download(name, "champion", into)


def _model_id(version: Any) -> str:
    """Return the id of the model that a version was made from; a local store tells only its URI."""
    return str(version.source).removeprefix("models:/")


def _ensemble_in(folder: Path) -> Path:
    """Return the ensemble's folder in the folder of a model."""
    from mlflow.models import Model

    from curation.tracking.registry.ensemble_model import ARTIFACT

    flavour = Model.load(str(folder)).flavors["python_function"]
    return folder / str(flavour["artifacts"][ARTIFACT]["path"])
