"""Check every part of an installation, and say how to mend what is missing.

Each check is a small function of what it looks at, so that a test can show it a broken part.
`fail` stops our work, `warn` is worth knowing, `ok` needs nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from cascade import manifest as manifests
from cascade import registry
from cascade.manifest import Manifest
from curation.app import plugins
from curation.errors import CurationError
from curation.secrets import without_password
from curation.settings import Settings
from curation.storage.database import connection, mongod

DISTRIBUTION = "cascade-curation"
LEAST_PYTHON = (3, 11)
LITTLE_DISK_BYTES = 5e9  # a few checkpoints, frames and the database
_SERVER_TIMEOUT_S = 3.0
_OPENCV = re.compile(r"opencv(-contrib)?-python(-headless)?")
_COPYLEFT = re.compile(r"A?GPL")
# Compiled packages that are installed and yet may not load: on a wrong CUDA, glibc or numpy.
_MUST_LOAD = ("numpy", "cv2", "torch", "torchvision", "pyarrow")


@dataclass(frozen=True)
class Check:
    """What was found of one part.

    Attributes:
        name: The part.
        status: Whether we can work with it.
        detail: What was found.
        mend: What to do about it; None where nothing needs to be done.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    mend: str | None = None


def check_all(settings: Settings, environment: Mapping[str, str] | None = None) -> list[Check]:
    """Return what was found of every part, in the order in which to mend them.

    Changes nothing: a database that is started for the check lies in a temporary folder.

    Args:
        settings: Where our folder and the servers are.
        environment: Names the optional servers; this process's own by default.
    """
    given = os.environ if environment is None else environment
    return [
        check_python(sys.version_info[:3]),
        check_requirements(_requirements(), _version),
        check_loading(_MUST_LOAD),
        check_opencv(one.name for one in metadata.distributions()),
        check_home(settings.home),
        check_disk(settings.home, shutil.disk_usage(_existing(settings.home)).free),
        check_database(settings),
        check_device(),
        check_plugins(plugins.fiftyone_folder(given)),
        *(check_licences(manifests.load(name)) for name in manifests.packaged_names()),
        check_server("Label Studio", given.get("LABEL_STUDIO_URL"), "/health"),
        check_tracking(settings.tracking_uri),
        check_server("vLLM", given.get("VLLM_URL"), "/health"),
    ]


def check_python(version: Sequence[int]) -> Check:
    """Check Python's own version."""
    text = ".".join(map(str, version))
    if tuple(version[:2]) < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        return Check("Python", "fail", text, f"Install Python {least} or newer.")
    return Check("Python", "ok", text)


def check_requirements(
    requirements: Iterable[Requirement], version_of: Callable[[str], str | None]
) -> Check:
    """Check that every package that we require is installed, in a version that fits.

    Args:
        requirements: What we require here; none where we run from a bare checkout.
        version_of: The installed version of a distribution, or None.
    """
    wanted = list(requirements)
    wrong = []
    for one in wanted:
        found = version_of(one.name)
        if found is None:
            wrong.append(f"{one.name} is missing")
        elif not one.specifier.contains(found, prereleases=True):
            wrong.append(f"{one.name} is {found}, not {one.specifier}")
    if not wanted:
        return Check(
            "packages", "warn", f"{DISTRIBUTION} itself is not installed", "Run `make install`."
        )
    if wrong:
        return Check(
            "packages",
            "fail",
            "; ".join(wrong),
            "In a checkout: `rm -rf .venv && make install`. "
            f"Else: `pip install --force-reinstall {DISTRIBUTION}`.",
        )
    return Check("packages", "ok", f"all {len(wanted)} that are required")


def check_loading(modules: Iterable[str]) -> Check:
    """Check that compiled packages can be loaded, which their presence does not prove."""
    broken = []
    for name in modules:
        try:
            import_module(name)
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            broken.append(f"{name}: {_first_line(error)}")
    if broken:
        return Check(
            "compiled packages",
            "fail",
            "; ".join(broken),
            "Their builds do not fit each other or this machine (torch and torchvision must be "
            "of one pair, both for CPU or both for CUDA). Install from the lock: "
            "`rm -rf .venv && make install`.",
        )
    return Check("compiled packages", "ok", "all load")


def check_opencv(distributions: Iterable[str]) -> Check:
    """Check that there is one OpenCV: its wheels all write into the one folder `cv2`."""
    found = sorted({name for name in distributions if name and _OPENCV.fullmatch(name)})
    if not found:
        return Check("OpenCV", "fail", "not installed", "Run `pip install opencv-python-headless`.")
    if len(found) > 1:
        return Check(
            "OpenCV",
            "warn",
            f"{' and '.join(found)} overwrite each other",
            f"Run `pip uninstall -y {' '.join(found)}`, then `pip install opencv-python-headless`.",
        )
    return Check("OpenCV", "ok", f"{found[0]}, and no other")


def check_home(home: Path) -> Check:
    """Check that our folder can be written, or made where it does not exist."""
    try:
        with tempfile.TemporaryFile(dir=_existing(home)):
            pass
    except OSError as error:
        return Check(
            "home",
            "fail",
            f"{home} cannot be written ({error.strerror})",
            "Mend that, or set CURATION_HOME to a folder that can.",
        )
    return Check("home", "ok", str(home) if home.is_dir() else f"{home}, made when needed")


def check_disk(home: Path, free_bytes: float) -> Check:
    """Check the room that our folder's disk has left."""
    detail = f"{free_bytes / 1e9:.1f} GB free for {home}"
    mend = "Free some, or set CURATION_HOME to another disk."
    if free_bytes < mongod.LEAST_FREE_BYTES:
        return Check("disk", "fail", detail, mend)
    if free_bytes < LITTLE_DISK_BYTES:
        return Check("disk", "warn", detail, mend)
    return Check("disk", "ok", detail)


def check_database(settings: Settings) -> Check:
    """Check that a MongoDB answers: the one that was named, or ours.

    Where ours does not run, another is started in a temporary folder and stopped again.
    """
    try:
        if settings.database_uri:
            return check_address(settings.database_uri)
        running = connection.status(settings)
        if running.uri:
            return Check("database", "ok", f"ours answers at {running.uri}")
        with tempfile.TemporaryDirectory() as folder:
            trial = replace(settings, home=Path(folder))
            connection.start(trial)
            connection.stop(trial)
    except CurationError as error:
        return Check("database", "fail", "none answers", str(error))
    return Check("database", "ok", f"ours starts when needed ({mongod.find_mongod()})")


def check_address(uri: str) -> Check:
    """Check that a MongoDB answers at an address that was given."""
    from pymongo.errors import PyMongoError

    try:
        with mongod.client_of(uri) as client:
            version = client.server_info()["version"]
    except PyMongoError as error:
        return Check(
            "database",
            "fail",
            f"none answers at {without_password(uri)} ({type(error).__name__})",
            "Start it, or unset FIFTYONE_DATABASE_URI to use our own.",
        )
    return Check("database", "ok", f"MongoDB {version} answers at {without_password(uri)}")


def check_device() -> Check:
    """Say what models will run on."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("device", "fail", f"torch does not load: {_first_line(error)}")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        free, total = torch.cuda.mem_get_info()
        return Check(
            "device",
            "ok",
            f"{', '.join(names)}; {free / 1e9:.0f} of {total / 1e9:.0f} GB free on the first",
        )
    if torch.backends.mps.is_available():
        return Check("device", "ok", "Apple GPU (mps)")
    return check_no_gpu(torch.get_num_threads(), has_driver=shutil.which("nvidia-smi") is not None)


def check_no_gpu(threads: int, *, has_driver: bool) -> Check:
    """Say that models run on the CPU, and whether a GPU lies idle beside it."""
    detail = f"CPU, {threads} threads"
    if has_driver:
        return Check(
            "device",
            "warn",
            f"{detail}, though an NVIDIA driver is installed",
            "Run `nvidia-smi`: is a GPU listed, and is its driver new enough for this torch?",
        )
    return Check("device", "ok", detail)


def check_plugins(folder: Path) -> Check:
    """Check that FiftyOne finds our operators: linked into `folder`, or lying there."""
    mend = "Run `curate plugins install`."
    try:
        shipped = plugins.plugins()
        if folder.resolve() == plugins.shipped_folder():
            return Check("App operators", "ok", f"FiftyOne reads them in {folder}")
    except CurationError as error:
        return Check("App operators", "fail", "not in this installation", str(error))
    there = {place.name: place for place in plugins.installed(folder)}
    absent = [verb for verb in shipped if verb not in there]
    dead = [verb for verb, place in there.items() if not place.exists()]
    if len(absent) == len(shipped):
        return Check("App operators", "warn", f"not in {folder}", mend)
    if absent or dead:
        return Check(
            "App operators", "warn", f"missing in {folder}: {', '.join(absent + dead)}", mend
        )
    return Check("App operators", "ok", f"{len(shipped)} plugins in {folder}")


def check_licences(
    manifest: Manifest, missing: Callable[[str], Sequence[str]] | None = None
) -> Check:
    """Say under which licences the members of a manifest come, and name the copyleft ones.

    Args:
        manifest: The ensemble.
        missing: The packages that an adapter needs and that are not installed here.
    """
    absent = missing or (lambda adapter: registry.get(adapter).missing)
    name = f"licences of {manifest.name}"
    present = [one for one in manifest.members if not absent(one.adapter)]
    left_out = [one.name for one in manifest.members if absent(one.adapter)]
    groups: dict[str, list[str]] = {}
    for one in present:
        groups.setdefault(one.licence, []).append(one.name)
    detail = "; ".join(f"{licence}: {', '.join(names)}" for licence, names in groups.items())
    if left_out:
        detail += f"; not installed: {', '.join(left_out)}"
    copyleft = [one for one in present if _COPYLEFT.search(one.licence)]
    if not copyleft:
        return Check(name, "ok", detail)
    packages = sorted({p for one in copyleft for p in registry.get(one.adapter).needs})
    return Check(
        name,
        "warn",
        f"{detail}. Whoever gets or uses over a network what runs with "
        f"{', '.join(packages) or copyleft[0].name} may ask for its whole source code "
        f"({copyleft[0].licence})",
        f"To do without: `pip uninstall {' '.join(packages)}` (in a checkout: "
        "`make permissive`); the other members go on."
        if packages
        else "To do without, take these members out of the manifest.",
    )


def check_tracking(uri: str) -> Check:
    """Check the MLflow server, where there is one; a local store needs none."""
    if not uri.startswith(("http://", "https://")):
        return Check("MLflow", "ok", "a local store, no server needed")
    return check_server("MLflow", uri, "/health")


def check_server(name: str, url: str | None, path: str) -> Check:
    """Check that an optional server answers, where one is configured."""
    if not url:
        return Check(name, "ok", "not configured (optional)")
    shown = without_password(url)
    if not url.startswith(("http://", "https://")):
        return Check(name, "fail", f"{shown} is no http address", "Give it as http://HOST:PORT.")
    try:
        request = url.rstrip("/") + path
        with urllib.request.urlopen(request, timeout=_SERVER_TIMEOUT_S):  # noqa: S310 - http only
            return Check(name, "ok", f"answers at {shown}")
    except urllib.error.HTTPError as error:
        problem = f"{shown} answers {error.code} {error.reason}"
    except (OSError, ValueError) as error:
        problem = f"{shown} does not answer ({_first_line(error)})"
    return Check(name, "fail", problem, "Start it, mend the address, or unset it to go without.")


def _requirements() -> list[Requirement]:
    """Return what this distribution requires here, without its extras."""
    try:
        texts = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    parsed = [Requirement(text) for text in texts]
    return [one for one in parsed if not one.marker or one.marker.evaluate({"extra": ""})]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(one for one in (folder, *folder.parents) if one.is_dir())


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
