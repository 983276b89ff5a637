"""The GPUs of this machine, asked of their driver: without torch, which takes seconds to load."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import lru_cache

from cascade.planning.resources import Gpu

logger = logging.getLogger(__name__)

_ANSWER_S = 10.0


@lru_cache(maxsize=1)
def here() -> tuple[Gpu, ...]:
    """Return this machine's GPUs in the driver's order; none where there is no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        printed = subprocess.run(  # noqa: S603 - our own arguments, no shell
            command, capture_output=True, text=True, timeout=_ANSWER_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("nvidia-smi does not answer (%s): working without GPUs.", error)
        return ()
    return parse(printed)


def parse(printed: str) -> tuple[Gpu, ...]:
    """Return the GPUs that nvidia-smi lists, one a line: name, MiB."""
    rows = [line.rpartition(",") for line in printed.splitlines() if "," in line]
    return tuple(Gpu(name.strip(), float(size)) for name, _, size in rows)


def visible(environment: Mapping[str, str] | None = None) -> tuple[int, ...]:
    """Return the numbers of the GPUs that this process may use: `CUDA_VISIBLE_DEVICES` holds."""
    given = os.environ if environment is None else environment
    known = tuple(range(len(here())))
    asked = given.get("CUDA_VISIBLE_DEVICES")
    if asked is None:
        return known
    numbers = [int(one) for one in asked.split(",") if one.strip().isdecimal()]
    return tuple(one for one in numbers if one in known)
