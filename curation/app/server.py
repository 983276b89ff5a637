"""FiftyOne App, served on the loopback address until Ctrl-C."""

from __future__ import annotations

import contextlib
import socket
import time
import webbrowser
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from curation.errors import AppError
from curation.presentation.saved_views import HARDEST

if TYPE_CHECKING:
    from fiftyone import Dataset

START_TIMEOUT_S = 180.0  # FiftyOne's server imports for half a minute on a busy machine


def require_free_port(port: int) -> None:
    """Reject a port in use: an App on it may show another database.

    Raises:
        AppError: The port is in use, or may not be used.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just closed is free
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise AppError(
                f"The App cannot use port {port} ({reason}). Stop the process that uses it, or "
                "choose another port with `--port`."
            ) from error


def serve(dataset: Dataset, *, port: int, browser: bool, on_ready: Callable[[str], None]) -> None:
    """Serve the App on 127.0.0.1 until Ctrl-C. It opens on the hardest samples, if scored.

    Args:
        dataset: Dataset to open.
        port: Port on the loopback address.
        browser: Whether to open a browser window.
        on_ready: Called with the App's address as soon as it answers.

    Raises:
        AppError: The App did not start.
    """
    import fiftyone as fo  # only after the caller has selected the database

    address = f"http://127.0.0.1:{port}/datasets/{quote(dataset.name)}"
    view = None
    if dataset.has_saved_view(HARDEST):
        view, address = dataset.load_saved_view(HARDEST), f"{address}?view={HARDEST}"
    with contextlib.suppress(KeyboardInterrupt):  # also while the App starts
        session = fo.launch_app(dataset, view=view, remote=True, address="127.0.0.1", port=port)
        wait_until_answering(port)
        on_ready(address)
        if browser:
            webbrowser.open(address)
        session.wait(-1)


def wait_until_answering(port: int, timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait until a server answers on a port of the loopback address.

    Raises:
        AppError: No server answered in time.
    """
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise AppError(
        f"The App did not start within {timeout_s:.0f} s. Try again; if the error persists, "
        "`fiftyone app debug` shows the server's output."
    )
