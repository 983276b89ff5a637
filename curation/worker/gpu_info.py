"""GPUs of this machine, read from the driver, because importing torch takes seconds."""

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
def installed_gpus() -> tuple[Gpu, ...]:
    """Return this machine's GPUs in the driver's order; empty if there is no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(  # noqa: S603 - our own arguments, no shell
            command, capture_output=True, text=True, timeout=_ANSWER_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("Cannot run nvidia-smi (%s): working without GPUs.", error)
        return ()
    return parse(output)


def parse(output: str) -> tuple[Gpu, ...]:
    """Return the GPUs in the output of nvidia-smi, one per line: name, MiB."""
    rows = [line.rpartition(",") for line in output.splitlines() if "," in line]
    return tuple(Gpu(name.strip(), float(size)) for name, _, size in rows)


def visible_gpus(environment: Mapping[str, str] = os.environ) -> tuple[int, ...]:
    """Return the numbers of the GPUs that `CUDA_VISIBLE_DEVICES` allows."""
    installed = tuple(range(len(installed_gpus())))
    setting = environment.get("CUDA_VISIBLE_DEVICES")
    if setting is None:
        return installed
    numbers = [int(item) for item in setting.split(",") if item.strip().isdecimal()]
    return tuple(number for number in numbers if number in installed)
