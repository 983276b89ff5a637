"""Command `worker`: run the operations queued in the App."""

from __future__ import annotations

from typing import Annotated

import typer

from curation.cli.app import app, connect, say
from curation.worker.constants import GRACE_S, LEASE_S


@app.command(epilog="Example: curate worker --gpu 0")
def worker(
    gpu: Annotated[
        list[int] | None,
        typer.Option(min=0, help="GPU to use. Repeatable. Default: all GPUs."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Stop when the queue is empty.")] = False,
    lease_s: Annotated[
        float,
        typer.Option(
            "--lease",
            min=1.0,
            help="Seconds without heartbeat before another worker takes over.",
        ),
    ] = LEASE_S,
    grace_s: Annotated[
        float, typer.Option("--grace", min=0.0, help="Seconds that a canceled run may continue.")
    ] = GRACE_S,
) -> None:
    """Run operations queued in the App, oldest first, one process per GPU, until Ctrl-C."""
    from curation.app import plugins
    from curation.worker import gpu_info
    from curation.worker.supervisor import Supervisor

    connect()
    for path in plugins.install_missing():
        say(f"installed: {path}")
    gpus = tuple(gpu or gpu_info.visible_gpus())
    devices = ", ".join(f"GPU {index}" for index in gpus) or "the CPU"
    say(f"Working on {devices}. Runs and their logs are in the App's runs panel.")
    Supervisor(gpus, once=once, lease_s=lease_s, grace_s=grace_s).run()
