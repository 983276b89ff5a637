"""Checks of an installation, each with advice on how to fix a problem.

Each check is a function of the values that it checks, so a test can pass it a broken part.
`fail` prevents work, `warn` is worth knowing, `ok` needs no action.
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
from cascade.serving.defaults import KEY_VARIABLE, URL_VARIABLE
from curation.app import plugins
from curation.errors import CurationError
from curation.secrets import without_password
from curation.settings import Settings
from curation.storage.database import connection, mongod

DISTRIBUTION = "cascade-curation"
MIN_PYTHON = (3, 11)
LOW_DISK_BYTES = 5e9  # enough for a few checkpoints, frames and the database
_SERVER_TIMEOUT_S = 3.0
_OPENCV = re.compile(r"opencv(-contrib)?-python(-headless)?")
_COPYLEFT = re.compile(r"A?GPL")
# Compiled packages that may be installed but fail to load: wrong CUDA, glibc or numpy.
_COMPILED = ("numpy", "cv2", "torch", "torchvision", "pyarrow")


@dataclass(frozen=True)
class Check:
    """Result of the check of one part.

    Attributes:
        name: Name of the part.
        status: Severity.
        detail: State of the part.
        fix: Advice on how to fix a problem; None if there is none to fix.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    fix: str | None = None


def check_all(settings: Settings, environment: Mapping[str, str] | None = None) -> list[Check]:
    """Check every part, in the order in which to fix problems.

    Changes nothing: a database started for the check uses a temporary folder.

    Args:
        settings: Locations of files and servers.
        environment: Environment variables with the addresses of optional servers; by default
            those of this process.
    """
    variables = os.environ if environment is None else environment
    return [
        check_python(sys.version_info[:3]),
        check_requirements(_requirements(), _version),
        check_loading(_COMPILED),
        check_opencv(package.name for package in metadata.distributions()),
        check_home(settings.home),
        check_disk(settings.home, shutil.disk_usage(_existing(settings.home)).free),
        check_database(settings),
        check_device(),
        check_plugins(plugins.fiftyone_folder(variables)),
        *(check_licenses(manifests.load(name)) for name in manifests.packaged_names()),
        check_server("Label Studio", variables.get("LABEL_STUDIO_URL"), "/health"),
        check_tracking(settings.tracking_uri),
        check_server(
            "language models",
            variables.get(URL_VARIABLE),
            "/models",
            token=variables.get(KEY_VARIABLE),
        ),
    ]


def check_python(version: Sequence[int]) -> Check:
    """Check the version of Python."""
    text = ".".join(map(str, version))
    if tuple(version[:2]) < MIN_PYTHON:
        minimum = ".".join(map(str, MIN_PYTHON))
        return Check("Python", "fail", text, f"Install Python {minimum} or newer.")
    return Check("Python", "ok", text)


def check_requirements(
    requirements: Iterable[Requirement], version_of: Callable[[str], str | None]
) -> Check:
    """Check that every required package is installed, in a compatible version.

    Args:
        requirements: Required packages; none in a bare checkout.
        version_of: Function that returns the installed version of a distribution, or None.
    """
    required = list(requirements)
    problems = []
    for requirement in required:
        version = version_of(requirement.name)
        if version is None:
            problems.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{requirement.name} is {version}, not {requirement.specifier}")
    if not required:
        return Check(
            "packages", "warn", f"{DISTRIBUTION} itself is not installed", "Run `make install`."
        )
    if problems:
        return Check(
            "packages",
            "fail",
            "; ".join(problems),
            "In a checkout: `rm -rf .venv && make install`. "
            f"Otherwise: `pip install --force-reinstall {DISTRIBUTION}`.",
        )
    return Check("packages", "ok", f"all {len(required)} required packages are installed")


def check_loading(modules: Iterable[str]) -> Check:
    """Check that compiled packages can be imported, not only that they are installed."""
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
            "Their builds are incompatible with each other or with this machine (torch and "
            "torchvision must match, both for CPU or both for CUDA). Install from the lock file: "
            "`rm -rf .venv && make install`.",
        )
    return Check("compiled packages", "ok", "all load")


def check_opencv(distributions: Iterable[str]) -> Check:
    """Check that there is one OpenCV: its wheels all write into the same folder `cv2`."""
    wheels = sorted({name for name in distributions if name and _OPENCV.fullmatch(name)})
    if not wheels:
        return Check("OpenCV", "fail", "not installed", "Run `pip install opencv-python-headless`.")
    if len(wheels) > 1:
        return Check(
            "OpenCV",
            "warn",
            f"{' and '.join(wheels)} overwrite each other",
            f"Run `pip uninstall -y {' '.join(wheels)}`, "
            "then `pip install opencv-python-headless`.",
        )
    return Check("OpenCV", "ok", f"only {wheels[0]}")


def check_home(home: Path) -> Check:
    """Check that the home folder can be written, or created if it does not exist."""
    try:
        with tempfile.TemporaryFile(dir=_existing(home)):
            pass
    except OSError as error:
        return Check(
            "home",
            "fail",
            f"cannot write {home} ({error.strerror})",
            "Grant write permission, or set CURATION_HOME to a writable folder.",
        )
    return Check("home", "ok", str(home) if home.is_dir() else f"{home}, created when needed")


def check_disk(home: Path, free_bytes: float) -> Check:
    """Check the free space on the home folder's disk."""
    detail = f"{free_bytes / 1e9:.1f} GB free for {home}"
    fix = "Free some space, or set CURATION_HOME to a folder on another disk."
    if free_bytes < mongod.MIN_FREE_BYTES:
        return Check("disk", "fail", detail, fix)
    if free_bytes < LOW_DISK_BYTES:
        return Check("disk", "warn", detail, fix)
    return Check("disk", "ok", detail)


def check_database(settings: Settings) -> Check:
    """Check that the configured MongoDB or else the embedded database answers.

    If the embedded database is not running, one is started in a temporary folder and stopped.
    """
    try:
        if settings.database_uri:
            return check_address(settings.database_uri)
        running = connection.status(settings)
        if running.uri:
            return Check("database", "ok", f"the embedded database answers at {running.uri}")
        with tempfile.TemporaryDirectory() as folder:
            trial = replace(settings, home=Path(folder))
            connection.start(trial)
            connection.stop(trial)
    except CurationError as error:
        return Check("database", "fail", "no database answers", str(error))
    return Check("database", "ok", f"starts when needed ({mongod.find_mongod()})")


def check_address(uri: str) -> Check:
    """Check that a MongoDB answers at an address."""
    from pymongo.errors import PyMongoError

    try:
        with mongod.open_client(uri) as client:
            version = client.server_info()["version"]
    except PyMongoError as error:
        return Check(
            "database",
            "fail",
            f"no database answers at {without_password(uri)} ({type(error).__name__})",
            "Start it, or unset FIFTYONE_DATABASE_URI to use the embedded database.",
        )
    return Check("database", "ok", f"MongoDB {version} answers at {without_password(uri)}")


def check_device() -> Check:
    """Check which device models will run on."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("device", "fail", f"cannot import torch: {_first_line(error)}")
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
    """Report that models run on the CPU, and warn if an NVIDIA driver is installed."""
    detail = f"CPU, {threads} threads"
    if has_driver:
        return Check(
            "device",
            "warn",
            f"{detail}, although an NVIDIA driver is installed",
            "Run `nvidia-smi` to see whether a GPU is listed and its driver new enough for torch.",
        )
    return Check("device", "ok", detail)


def check_plugins(folder: Path) -> Check:
    """Check that FiftyOne finds the operators: linked or copied into `folder`."""
    fix = "Run `curate plugins install`."
    try:
        shipped = plugins.shipped_plugins()
        if folder.resolve() == plugins.shipped_folder():
            return Check("App operators", "ok", f"FiftyOne reads them in {folder}")
    except CurationError as error:
        return Check("App operators", "fail", "not in this installation", str(error))
    installed = {path.name: path for path in plugins.installed(folder)}
    missing = [name for name in shipped if name not in installed]
    if len(missing) == len(shipped):
        return Check("App operators", "warn", f"not in {folder}", fix)
    missing += [name for name, path in installed.items() if not path.exists()]  # dead links
    if missing:
        return Check("App operators", "warn", f"missing in {folder}: {', '.join(missing)}", fix)
    return Check("App operators", "ok", f"{len(shipped)} plugins in {folder}")


def check_licenses(
    manifest: Manifest, missing: Callable[[str], Sequence[str]] | None = None
) -> Check:
    """Report the licenses of a manifest's members, and warn of copyleft ones.

    Args:
        manifest: The ensemble.
        missing: Function that returns the packages that an adapter needs and that are not
            installed.
    """
    missing = missing or (lambda adapter: registry.get(adapter).missing)
    name = f"licenses of {manifest.name}"
    left_out = [member for member in manifest.members if missing(member.adapter)]
    present = [member for member in manifest.members if member not in left_out]
    groups: dict[str, list[str]] = {}
    for member in present:
        groups.setdefault(member.license, []).append(member.name)
    detail = "; ".join(f"{terms}: {', '.join(names)}" for terms, names in groups.items())
    if left_out:
        detail += f"; not installed: {', '.join(member.name for member in left_out)}"
    copyleft = [member for member in present if _COPYLEFT.search(member.license)]
    if not copyleft:
        return Check(name, "ok", detail)
    packages = sorted({p for member in copyleft for p in registry.get(member.adapter).needs})
    return Check(
        name,
        "warn",
        f"{detail}. Users who receive software that runs with "
        f"{', '.join(packages) or copyleft[0].name}, or use it over a network, may request its "
        f"entire source code ({copyleft[0].license})",
        f"To work without: `pip uninstall {' '.join(packages)}` (in a checkout: "
        "`make permissive`). The other members are not affected."
        if packages
        else "To work without, remove these members from the manifest.",
    )


def check_tracking(uri: str) -> Check:
    """Check the MLflow server, if one is configured; a local store needs none."""
    if not uri.startswith(("http://", "https://")):
        return Check("MLflow", "ok", "a local store, no server needed")
    return check_server("MLflow", uri, "/health")


def check_server(name: str, url: str | None, path: str, *, token: str | None = None) -> Check:
    """Check that an optional server answers, if one is configured.

    Args:
        name: Name of the server.
        url: Address of the server; None or empty if none is configured.
        path: Path to request, appended to `url`.
        token: Bearer token, if the server needs one.
    """
    if not url:
        return Check(name, "ok", "not configured (optional)")
    shown = without_password(url)
    if not url.startswith(("http://", "https://")):
        return Check(name, "fail", f"{shown} is not an HTTP address", "Use http://HOST:PORT.")
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(url.rstrip("/") + path, headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=_SERVER_TIMEOUT_S):  # noqa: S310 - http only
            return Check(name, "ok", f"answers at {shown}")
    except urllib.error.HTTPError as error:
        problem = f"{shown} answers {error.code} {error.reason}"
    except (OSError, ValueError) as error:
        problem = f"{shown} does not answer ({_first_line(error)})"
    fix = "Start the server, correct its address, or unset it to work without."
    return Check(name, "fail", problem, fix)


def _requirements() -> list[Requirement]:
    """Return the requirements of this distribution on this machine, without its extras."""
    try:
        texts = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    requirements = map(Requirement, texts)
    return [r for r in requirements if not r.marker or r.marker.evaluate({"extra": ""})]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
