"""The FiftyOne App, served on loopback until Ctrl-C."""

from __future__ import annotations

import webbrowser
from typing import Any


def serve(dataset: Any, *, port: int, browser: bool) -> None:
    """Serve the App on 127.0.0.1 and wait.

    Args:
        dataset: What it opens on.
        port: On the loopback address.
        browser: Whether to open a window.
    """
    import fiftyone as fo  # not before the door has decided on the database

    session = fo.launch_app(dataset, remote=True, address="127.0.0.1", port=port)
    if browser:
        webbrowser.open(f"http://127.0.0.1:{port}/datasets/{dataset.name}")
    session.wait(-1)
