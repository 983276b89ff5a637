"""The FiftyOne App, served on loopback until Ctrl-C."""

from __future__ import annotations

import contextlib
import socket
import time
import webbrowser
from collections.abc import Callable
from typing import TYPE_CHECKING

from curation.errors import AppError

if TYPE_CHECKING:
    from fiftyone import Dataset

START_S = 180.0  # FiftyOne's server imports for half a minute on a busy machine


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


def serve(dataset: Dataset, *, port: int, browser: bool, ready: Callable[[str], None]) -> None:
    """Serve the App on 127.0.0.1 until Ctrl-C.

    Args:
        dataset: What it opens on.
        port: On the loopback address.
        browser: Whether to open a window.
        ready: Told the App's address as soon as it answers.

    Raises:
        AppError: It did not start.
    """
    address = f"http://127.0.0.1:{port}/datasets/{dataset.name}"
    import fiftyone as fo  # not before the door has decided on the database

    with contextlib.suppress(KeyboardInterrupt):  # also while the App starts
        session = fo.launch_app(dataset, remote=True, address="127.0.0.1", port=port)
        wait_until_it_answers(port)
        ready(address)
        if browser:
            webbrowser.open(address)
        session.wait(-1)


def wait_until_it_answers(port: int, within_s: float = START_S) -> None:
    """Return as soon as something listens on the port of the loopback address.

    Raises:
        AppError: Nothing did within that time.
    """
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise AppError(
        f"The App did not start within {within_s:.0f} s. Try again; if it stays so, "
        "`fiftyone app debug` shows what its server says."
    )
