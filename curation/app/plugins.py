"""Installation of our plugins into FiftyOne's plugins folder, and their removal.

FiftyOne reads one plugins folder and no entry points, so an installed package cannot announce
its operators. Each plugin becomes a link `<plugins folder>/@curation/<name>`, or a copy where
links are not permitted (Windows without developer mode, some network disks).

Files at such a path that we did not install are never touched.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from curation.errors import PluginError

logger = logging.getLogger(__name__)

ORGANIZATION = "@curation"
DEFINITION = "fiftyone.yml"  # file that makes a folder a plugin
_COPY_MARKER = ".copied-by-curation"  # file that identifies our copies


def install(target: Path | None = None, *, copy: bool = False) -> list[Path]:
    """Link our plugins into FiftyOne's plugins folder, and return the links.

    Links and copies of an earlier installation are replaced.

    Args:
        target: The plugins folder; by default FiftyOne's.
        copy: Copy the plugins instead of linking them.

    Raises:
        PluginError: A path holds files that are not ours, or the folder is not writable;
            nothing was changed.
    """
    folder = (target or fiftyone_folder()) / ORGANIZATION
    sources = {folder / name: source for name, source in shipped_plugins().items()}
    for path in sources:
        if os.path.lexists(path) and not _is_ours(path):
            raise PluginError(
                f"{path} was not installed by us and stays unchanged. Move it away, or choose "
                "another folder with --target."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, source in sources.items():
            _remove(path)
            _link_or_copy(source, path, copy=copy)
    except OSError as error:
        raise PluginError(
            f"Cannot write to {folder} ({error.strerror or error}). Make it writable, or choose "
            "another folder with --target and set FIFTYONE_PLUGINS_DIR to it."
        ) from error
    return list(sources)


def install_missing() -> list[Path]:
    """Install our plugins into FiftyOne's plugins folder if any is missing; return the new ones.

    Nothing is done if the folder is our own, or holds all plugins already.

    Raises:
        PluginError: The folder is not writable.
    """
    folder, shipped = fiftyone_folder(), shipped_folder()
    if folder.resolve() == shipped.resolve():
        return []
    present = {path.name for path in installed(folder) if path.exists()}
    if present >= shipped_plugins().keys():
        return []
    return [path for path in install(folder) if path.name not in present]


def uninstall(target: Path | None = None) -> list[Path]:
    """Remove our plugins from a plugins folder, and return the removed paths."""
    paths = installed(target)
    for path in paths:
        _remove(path)
    folder = (target or fiftyone_folder()) / ORGANIZATION
    if paths and not any(folder.iterdir()):
        folder.rmdir()
    return paths


def installed(target: Path | None = None) -> list[Path]:
    """Return our links and copies in a plugins folder, sorted, including dead links."""
    folder = (target or fiftyone_folder()) / ORGANIZATION
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _is_ours(path))


def shipped_plugins() -> dict[str, Path]:
    """Return the folder of each of our plugins, by name.

    Raises:
        PluginError: The installation is incomplete.
    """
    root = shipped_folder()
    return {file.parent.name: file.parent for file in sorted(root.glob(f"*/{DEFINITION}"))}


def shipped_folder() -> Path:
    """Return the folder of our plugins: in the wheel, or in the repository if editable.

    Raises:
        PluginError: Neither folder exists.
    """
    package = Path(__file__).resolve().parents[1]
    in_wheel, in_repository = package / "_plugins", package.parent / "plugins"
    if in_wheel.is_dir():
        return in_wheel
    # In site-packages, the folder `plugins` would be FiftyOne's.
    if in_repository.is_dir() and (package.parent / "pyproject.toml").is_file():
        return in_repository
    raise PluginError(
        "This installation has no operators: neither `curation/_plugins` nor a repository's "
        "`plugins` exists. Install again: pip install --force-reinstall --no-deps "
        "cascade-curation"
    )


def fiftyone_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return FiftyOne's plugins folder without importing FiftyOne.

    The import takes seconds and may start FiftyOne's database. The order is FiftyOne's own:
    `FIFTYONE_PLUGINS_DIR`, its configuration file, `__plugins__` in its folder of datasets.

    Raises:
        PluginError: The configuration file is not valid JSON.
    """
    env = os.environ if environment is None else environment
    config = _read_config(env)
    folder = env.get("FIFTYONE_PLUGINS_DIR") or config.get("plugins_dir")
    if folder:
        return Path(folder)
    data = env.get("FIFTYONE_DEFAULT_DATASET_DIR") or config.get("default_dataset_dir")
    return Path(data or "~/fiftyone").expanduser() / "__plugins__"


def _read_config(environment: Mapping[str, str]) -> dict[str, str]:
    file = Path(environment.get("FIFTYONE_CONFIG_PATH") or "~/.fiftyone/config.json").expanduser()
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text()))
    except ValueError as error:
        raise PluginError(f"FiftyOne's configuration {file} is not valid JSON: {error}.") from error


def _link_or_copy(source: Path, path: Path, *, copy: bool) -> None:
    if not copy:
        try:
            path.symlink_to(source, target_is_directory=True)
        except (OSError, NotImplementedError) as error:
            logger.info("Cannot create links (%s); copying %s instead.", error, source.name)
        else:
            return
    shutil.copytree(source, path, ignore=shutil.ignore_patterns("__pycache__"))
    (path / _COPY_MARKER).touch()


def _is_ours(path: Path) -> bool:
    """Return whether `install` created a path, in this environment or an earlier one."""
    if not path.is_symlink():
        return (path / _COPY_MARKER).is_file()
    source = path.readlink()
    return source.name == path.name and source.parent.name in ("plugins", "_plugins")


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
