"""The command `curate`: one verb a stage, and a few that frame them.

Expected errors are one line that says what to do; anything else keeps its traceback.
Heavy libraries are imported by the verb that needs them, so that `--help` is quick.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer
from rich.logging import RichHandler
from rich.markup import escape

from curation.cli.app import EXPECTED_ERROR, INTERRUPTED, app, errors
from curation.cli.errors import explain, is_of_database

# isort: off
from curation.cli.commands import (  # noqa: F401 - each adds its verbs to the app
    rounds, stages, adopt, labeling, preview, withdraw, registry, distil, jobs, worker, system,
    serving, manifests,
)  # fmt: skip
# isort: on

_OTHERS = {  # what other libraries would say by themselves, past our logging
    "FIFTYONE_LOGGING_DESTINATION": "ours",  # no handlers of its own: it would say all twice
    "FIFTYONE_SHOW_PROGRESS_BARS": "false",  # the stages draw their own
    "OPENCV_LOG_LEVEL": "ERROR",  # it warns of every odd tag in an image
}


def main() -> None:
    """Run the command; turn expected errors into one line and an exit code."""
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer has taken the Ctrl-C, and says nothing
            errors.print("Interrupted. What was written stays; the same command goes on from here.")
        raise
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        errors.print(f"[bold red]Error:[/] {escape(line)}", highlight=False, soft_wrap=True)
        if is_of_database(error):
            sys.stdout.flush()
            os._exit(EXPECTED_ERROR)  # else FiftyOne's exit hook waits 30 s more for it
        sys.exit(EXPECTED_ERROR)


@app.callback()
def _log(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
) -> None:
    """Have every library log through one handler, ours, to stderr."""
    for name, value in _OTHERS.items():
        os.environ.setdefault(name, value)
    os.environ["MPLBACKEND"] = "agg"  # a notebook's own is not there outside of it
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(
        level=level, format="%(message)s", handlers=[RichHandler(console=errors, show_path=False)]
    )
