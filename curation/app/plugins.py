"""Put our operators where FiftyOne looks for plugins, and take them away again.

FiftyOne knows one plugins folder and no entry points, so an installed package cannot announce
its operators: each verb becomes a link `<plugins folder>/@curation/<verb>`, or a copy where
links are refused (Windows without developer mode, some network disks).

What is at such a place and was not put there by us is never touched.
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

ORGANISATION = "@curation"
DEFINITION = "fiftyone.yml"  # what makes a folder a plugin
_COPIED = ".copied-by-curation"  # marks a copy as ours


def install(target: Path | None = None, *, copy: bool = False) -> list[Path]:
    """Link every verb of ours into FiftyOne's plugins folder, and return the links.

    A link or copy that an earlier installation made is replaced.

    Args:
        target: The plugins folder; by default the one that FiftyOne is configured for.
        copy: Copy the folders instead of linking them.

    Raises:
        PluginError: Something that is not ours is in the way, or the folder cannot be
            written; then nothing was changed.
    """
    sources = plugins()
    folder = (target or fiftyone_folder()) / ORGANISATION
    places = {folder / verb: source for verb, source in sources.items()}
    for place in places:
        _expect_free(place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place, source in places.items():
            _remove(place)
            _put(source, place, copy=copy)
    except OSError as error:
        raise PluginError(
            f"{folder} cannot be written ({error.strerror or error}). Mend that, "
            "or name another folder with --target and set FIFTYONE_PLUGINS_DIR to it."
        ) from error
    return list(places)


def install_missing() -> list[Path]:
    """Link our verbs where FiftyOne looks for plugins, unless they are there; return the new.

    A folder of plugins that is our own, or holds a verb already, however it came there, stays.

    Raises:
        PluginError: The folder cannot be written.
    """
    folder, shipped = fiftyone_folder(), shipped_folder()
    if folder.resolve() == shipped.resolve():
        return []
    there = {place.name for place in installed(folder) if place.exists()}
    if there >= plugins().keys():
        return []
    return [place for place in install(folder) if place.name not in there]


def uninstall(target: Path | None = None) -> list[Path]:
    """Remove what `install` put there, and return what was removed."""
    removed = installed(target)
    for place in removed:
        _remove(place)
    folder = (target or fiftyone_folder()) / ORGANISATION
    if removed and not any(folder.iterdir()):
        folder.rmdir()
    return removed


def installed(target: Path | None = None) -> list[Path]:
    """Return the links and copies of ours in a plugins folder, sorted; dead links included."""
    folder = (target or fiftyone_folder()) / ORGANISATION
    if not folder.is_dir():
        return []
    return sorted(place for place in folder.iterdir() if _is_ours(place))


def plugins() -> dict[str, Path]:
    """Return the folder of every plugin that we ship, by its verb.

    Raises:
        PluginError: The installation is not whole.
    """
    root = shipped_folder()
    return {file.parent.name: file.parent for file in sorted(root.glob(f"*/{DEFINITION}"))}


def shipped_folder() -> Path:
    """Return where our plugins lie: in the wheel, or in the repository of an editable install.

    Raises:
        PluginError: They are in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    in_wheel, in_repository = package / "_plugins", package.parent / "plugins"
    if in_wheel.is_dir():
        return in_wheel
    # Beside an installed package, `plugins` would be the one that FiftyOne brings along.
    if in_repository.is_dir() and (package.parent / "pyproject.toml").is_file():
        return in_repository
    raise PluginError(
        "This installation has no operators: neither `curation/_plugins` nor a repository's "
        "`plugins` is there. Install again: pip install --force-reinstall --no-deps "
        "cascade-curation"
    )


def fiftyone_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return the plugins folder that FiftyOne is configured for, without importing FiftyOne.

    Importing it takes seconds and may start its database. The order is FiftyOne's own:
    `FIFTYONE_PLUGINS_DIR`, its configuration file, `__plugins__` beside its data sets.

    Raises:
        PluginError: Its configuration file is no JSON.
    """
    given = os.environ if environment is None else environment
    config = _configuration(given)
    folder = given.get("FIFTYONE_PLUGINS_DIR") or config.get("plugins_dir")
    if folder:
        return Path(folder)
    data = given.get("FIFTYONE_DEFAULT_DATASET_DIR") or config.get("default_dataset_dir")
    return Path(data or "~/fiftyone").expanduser() / "__plugins__"


def _configuration(environment: Mapping[str, str]) -> dict[str, str]:
    file = Path(environment.get("FIFTYONE_CONFIG_PATH") or "~/.fiftyone/config.json").expanduser()
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise PluginError(f"FiftyOne's configuration {file} is no JSON: {error}.") from error
    return dict(content)


def _put(source: Path, place: Path, *, copy: bool) -> None:
    if not copy:
        try:
            place.symlink_to(source, target_is_directory=True)
        except (OSError, NotImplementedError) as error:
            logger.info("Links are refused (%s); copying %s instead.", error, source.name)
        else:
            return
    shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
    (place / _COPIED).touch()


def _expect_free(place: Path) -> None:
    if os.path.lexists(place) and not _is_ours(place):
        raise PluginError(
            f"{place} was not put there by us, so it is left alone. "
            "Move it away, or name another folder with --target."
        )


def _is_ours(place: Path) -> bool:
    """Return whether `install` made it, in this environment or in an earlier one."""
    if not place.is_symlink():
        return (place / _COPIED).is_file()
    aim = place.readlink()
    return aim.name == place.name and aim.parent.name in ("plugins", "_plugins")


def _remove(place: Path) -> None:
    if place.is_symlink():
        place.unlink()
    elif place.exists():
        shutil.rmtree(place)
