"""Environment of a run: interpreter, machine and installed packages."""

from __future__ import annotations

import os
import platform
from importlib import metadata

DISTRIBUTION = "cascade-curation"


def requirement() -> str:
    """Return this package as a requirement, unpinned if it is not installed."""
    try:
        return f"{DISTRIBUTION}=={metadata.version(DISTRIBUTION)}"
    except metadata.PackageNotFoundError:
        return DISTRIBUTION


def describe() -> str:
    """Return the environment as a requirements file, with facts as comments."""
    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": str(os.cpu_count()),
        "gpu": _gpu(),
    }
    installed = {
        f"{package.metadata['Name']}=={package.version}"
        for package in metadata.distributions()
        if package.version
    }
    lines = [f"# {name}: {value}" for name, value in facts.items()]
    return "\n".join([*lines, *sorted(installed, key=str.casefold)]) + "\n"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none"
    return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
