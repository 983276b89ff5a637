"""Fake OpenAI-compatible server on loopback with scripted replies, valid or not."""

from __future__ import annotations

import base64
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

YES = '{"answer":"yes","objects":["cone"],"reason":"A cone."}'


@dataclass(frozen=True)
class ServerReply:
    """Reply to one request.

    Attributes:
        text: Message.
        tokens: Tokens of the message: text, and alternatives with log probabilities.
        status: HTTP status.
        body: Body to send instead of a completion.
        headers: Additional headers.
        after_s: Delay of the reply.
        byte_pause_s: Pause after every byte of the body.
        hangs_up: Whether to cut the connection instead of replying.
    """

    text: str = YES
    tokens: tuple[tuple[str, Mapping[str, float]], ...] | None = None
    status: int = 200
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    after_s: float = 0.0
    byte_pause_s: float = 0.0
    hangs_up: bool = False

    def completion(self, model: str) -> bytes:
        message = {"role": "assistant", "content": self.text}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": message}
        if self.tokens is not None:
            choice["logprobs"] = {"content": [_token(*token) for token in self.tokens]}
        completion = {"id": "1", "object": "chat.completion", "created": 1, "model": model}
        return json.dumps(completion | {"choices": [choice]}).encode()


def _token(text: str, alternatives: Mapping[str, float]) -> dict[str, Any]:
    top = [{"token": word, "logprob": value} for word, value in alternatives.items()]
    return {"token": text, "logprob": alternatives.get(text, 0.0), "top_logprobs": top}


class LanguageServer:
    """Fake server and its context manager.

    Attributes:
        respond: Returns the reply to a request, given its number from 0 and its JSON.
        requests: JSON of every request, in order of arrival.
        headers: Headers of every request.
        max_in_flight: Maximum number of concurrent requests.
    """

    def __init__(
        self, respond: Callable[[int, Any], ServerReply] = lambda number, request: ServerReply()
    ) -> None:
        self.respond = respond
        self.requests: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.max_in_flight = 0
        self._in_flight = 0
        self._lock = threading.Lock()
        self._http: ThreadingHTTPServer | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Listen: first on a port that the system assigns, later on the same port."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._http = _Server(("127.0.0.1", self.port), Handler)
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Cut all connections and refuse new ones."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def is_hung_up(self, *, within_s: float) -> bool:
        """Return whether the client closes a connection before its reply."""
        ready, _, _ = select.select(list(self._http._open), [], [], within_s)
        try:
            return any(connection.recv(1, socket.MSG_PEEK) == b"" for connection in ready)
        except ConnectionResetError:
            return True

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        request = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
            self.headers.append({key.lower(): value for key, value in handler.headers.items()})
            self._in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self._in_flight)
        reply = self.respond(number, request)
        time.sleep(reply.after_s)
        with self._lock:
            self._in_flight -= 1
        if reply.hangs_up:
            handler.close_connection = True
            return
        body = reply.completion(request["model"]) if reply.body is None else reply.body
        try:
            handler.send_response(reply.status)
            headers = {"content-type": "application/json", "content-length": len(body)}
            for key, value in {**headers, **reply.headers}.items():
                handler.send_header(key, str(value))
            handler.end_headers()
            step = 1 if reply.byte_pause_s else len(body)
            for i in range(0, len(body), max(step, 1)):
                handler.wfile.write(body[i : i + step])
                time.sleep(reply.byte_pause_s)
        except OSError:  # the client closed the connection
            handler.close_connection = True


class _Server(ThreadingHTTPServer):
    """HTTP server whose close cuts open connections."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a connection that either side cut

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed already


def images_of(request: Any) -> list[bytes]:
    """Return the images of a request, as files."""
    parts = request["messages"][1]["content"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [base64.b64decode(url.partition(",")[2]) for url in urls]


def text_of(request: Any) -> str:
    """Return the text of a request."""
    return "\n".join(p["text"] for p in request["messages"][1]["content"] if p["type"] == "text")
