"""The command `curate`: one verb a stage, and a few that frame them.

Expected errors are one line that says what to do; anything else keeps its traceback.
Heavy libraries are imported by the verb that needs them, so that `--help` is quick.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer
from rich.logging import RichHandler

from cascade.errors import CascadeError
from curation.cli import manage, rounds, stages  # noqa: F401 - each adds its verbs to `app`
from curation.cli.frame import EXPECTED_ERROR, INTERRUPTED, app, errors
from curation.errors import CurationError


def main() -> None:
    """Run the command; turn expected errors into one line and an exit code."""
    try:
        app()
    except (CascadeError, CurationError) as error:
        errors.print(
            f"[bold red]Error:[/] {' '.join(str(error).split())}", highlight=False, soft_wrap=True
        )
        sys.exit(EXPECTED_ERROR)
    except KeyboardInterrupt:
        errors.print("Interrupted. What was written stays; run the same command again to go on.")
        sys.exit(INTERRUPTED)


@app.callback()
def _log(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(
        level=level, format="%(message)s", handlers=[RichHandler(console=errors, show_path=False)]
    )
