"""The verb that works through what the App has queued."""

from __future__ import annotations

from typing import Annotated

import typer

from curation.cli.app import app, connected, say
from curation.worker.constants import GRACE_S, LEASE_S


@app.command(epilog="Example: curate worker --gpu 0")
def worker(
    gpu: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Only this GPU. May be given again. Default: all of them."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when nothing waits any more.")] = False,
    lease_s: Annotated[
        float,
        typer.Option(
            "--lease", min=1.0, help="Seconds of silence after which a run goes to another."
        ),
    ] = LEASE_S,
    grace_s: Annotated[
        float, typer.Option("--grace", min=0.0, help="Seconds that a cancelled run may go on.")
    ] = GRACE_S,
) -> None:
    """Run what the App has queued: oldest first, one warm process per GPU. Ctrl-C ends it."""
    from curation.app import plugins
    from curation.worker import gpu_info
    from curation.worker.supervisor import Crew

    connected()
    for path in plugins.install_missing():
        say(f"installed: {path}")
    places = tuple(gpu or gpu_info.visible())
    where = ", ".join(f"GPU {one}" for one in places) or "the CPU"
    say(f"Working on {where}; runs and their logs: the App's panel of runs.")
    Crew(places, once=once, lease_s=lease_s, grace_s=grace_s).run()
