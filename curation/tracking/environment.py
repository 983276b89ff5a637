"""Where a run took place: the interpreter, the machine, and every installed package."""

from __future__ import annotations

import os
import platform
from importlib import metadata

DISTRIBUTION = "cascade-curation"


def requirement() -> str:
    """Return this package as a requirement; unpinned where it runs without being installed."""
    try:
        return f"{DISTRIBUTION}=={metadata.version(DISTRIBUTION)}"
    except metadata.PackageNotFoundError:
        return DISTRIBUTION


def page() -> str:
    """Return the environment as text that pip reads: facts as comments, then what is installed."""
    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": str(os.cpu_count()),
        "gpu": _gpu(),
    }
    installed = {
        f"{one.metadata['Name']}=={one.version}" for one in metadata.distributions() if one.version
    }
    lines = [f"# {name}: {value}" for name, value in facts.items()]
    return "\n".join([*lines, *sorted(installed, key=str.casefold)]) + "\n"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none"
    return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
