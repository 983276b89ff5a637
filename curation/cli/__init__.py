"""The command `curate`: one subcommand for each stage, and some for setup and operation.

Expected errors are printed as one line with a remedy; other errors keep their traceback.
Each command imports the heavy libraries that it needs itself, which keeps `--help` fast.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer
from rich.logging import RichHandler
from rich.markup import escape

from curation.cli.app import EXPECTED_ERROR, INTERRUPTED, app, error_console
from curation.cli.errors import explain, is_database_error

# isort: off
from curation.cli.commands import (  # noqa: F401 - each module adds its commands to the app
    rounds, stages, adopt, labeling, preview, withdraw, registry, distil, jobs, worker, system,
    serving, manifests,
)  # fmt: skip
# isort: on

_LIBRARY_VARIABLES = {  # silence output that bypasses logging
    "FIFTYONE_LOGGING_DESTINATION": "ours",  # no handlers: they would print everything twice
    "FIFTYONE_SHOW_PROGRESS_BARS": "false",  # the stages draw progress bars
    "OPENCV_LOG_LEVEL": "ERROR",  # hides warnings about unknown image tags
}


def main() -> None:
    """Run the command; print an expected error as one line and exit with its code."""
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer swallows Ctrl-C silently
            error_console.print("Interrupted. Run the same command again to continue from here.")
        raise
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        error_console.print(f"[bold red]Error:[/] {escape(line)}", highlight=False, soft_wrap=True)
        if is_database_error(error):
            sys.stdout.flush()
            os._exit(EXPECTED_ERROR)  # FiftyOne's exit hook would wait 30 s for the database
        sys.exit(EXPECTED_ERROR)


@app.callback()
def _configure_logging(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """Log all libraries through one handler, to stderr."""
    for name, value in _LIBRARY_VARIABLES.items():
        os.environ.setdefault(name, value)
    os.environ["MPLBACKEND"] = "agg"  # a notebook's backend does not exist outside it
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(
        level=level,
        format="%(message)s",
        handlers=[RichHandler(console=error_console, show_path=False)],
    )
