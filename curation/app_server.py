"""The FiftyOne App, served on loopback until Ctrl-C."""

from __future__ import annotations

import contextlib
import socket
import webbrowser
from typing import Any

from curation.errors import AppError


def expect_free(port: int) -> None:
    """Refuse a port that is taken: an App there may show another database.

    Raises:
        AppError: Something listens there, or nobody may.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # just left is free, too
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise AppError(
                f"The App cannot have port {port} ({reason}). Close what runs there, or name "
                "another with `--port`."
            ) from error


def serve(dataset: Any, *, port: int, browser: bool) -> None:
    """Serve the App on 127.0.0.1 until Ctrl-C.

    Args:
        dataset: What it opens on.
        port: On the loopback address.
        browser: Whether to open a window.
    """
    import fiftyone as fo  # not before the door has decided on the database

    with contextlib.suppress(KeyboardInterrupt):  # also while the App starts
        session = fo.launch_app(dataset, remote=True, address="127.0.0.1", port=port)
        if browser:
            webbrowser.open(f"http://127.0.0.1:{port}/datasets/{dataset.name}")
        session.wait(-1)
