"""Notifications of submissions: a webhook listener on this machine.

The server posts to a URL with a secret in its path. The content of the request is ignored: it
only triggers a pull. Requests without the secret are answered with 404.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from curation.errors import LabelingError
from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.errors import NotFoundError

logger = logging.getLogger(__name__)

ACTIONS = (
    "ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED",
    "TASKS_DELETED", "PROJECT_UPDATED",
)  # fmt: skip
_PREFIX = "/curation/"
_MAX_BYTES = 1 << 20
_TIMEOUT_S = 10.0  # for clients that connect and send nothing


class Listener:
    """Listens from construction until closed. Use it in a `with` block.

    Args:
        host: Address to listen on; loopback unless the server is on another machine.
        port: Port; 0 for any free port.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._called = threading.Event()
        self._path = _PREFIX + secrets.token_urlsafe(32)
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(self._path, self._called))
        except OSError as error:
            raise LabelingError(
                f"Cannot listen for webhooks on {host}:{port}: {error.strerror or error}. "
                "Choose another port, or disable webhooks."
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """URL for the server, including the secret."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}{self._path}"

    def wait(self, seconds: float) -> bool:
        """Wait until the server calls, or for a time; return whether it called."""
        called = self._called.wait(seconds)
        self._called.clear()
        return called

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def registered_webhook(client: Client, project_id: int, listener: Listener) -> Iterator[bool]:
    """Register a listener while the block runs; yield whether the server accepted it.

    By default, servers reject addresses on their own network. Pulls then follow a fixed interval.
    """
    try:
        webhook_id = _add(client, project_id, listener.url)
    except LabelingError as error:
        logger.warning("No webhook: %s Pulling at a fixed interval instead.", error)
        yield False
        return
    try:
        yield True
    finally:
        try:
            _remove(client, webhook_id)
        except LabelingError as error:
            logger.warning("Cannot remove webhook %d from the server: %s", webhook_id, error)


def _add(client: Client, project_id: int, url: str) -> int:
    """Register a webhook for a URL; return its id."""
    created = client.request(
        "add a webhook",
        "POST",
        "api/webhooks/",
        body={
            "project": project_id,
            "url": url,
            "send_payload": False,
            "send_for_all_actions": False,
            "actions": list(ACTIONS),
            "is_active": True,
        },
        repeatable=False,
    )
    return int(created["id"])


def _remove(client: Client, webhook_id: int) -> None:
    """Remove a webhook, if it exists."""
    try:
        client.request("remove a webhook", "DELETE", f"api/webhooks/{webhook_id}/")
    except NotFoundError:
        logger.info("Webhook %d does not exist any more.", webhook_id)


def _handler(path: str, called: threading.Event) -> type[BaseHTTPRequestHandler]:
    expected = path.encode()

    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_S

        def do_POST(self) -> None:
            authorized = hmac.compare_digest(self.path.encode(), expected)
            length = self.headers.get("Content-Length", "0")
            if not authorized or not length.isdecimal() or int(length) > _MAX_BYTES:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                self.close_connection = True
                return
            self.rfile.read(int(length))  # an earlier answer would break the connection
            called.set()
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - base class's name
            """Log nothing: the path is secret."""

    return Handler
