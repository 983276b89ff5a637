import json
import logging
import socketserver
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from curation.jobs import notifications
from curation.jobs.models import JobError
from curation.jobs.notifications import Event

WHEN = datetime(2027, 3, 26, 2, 30, tzinfo=UTC)
RETRY = Event("retry", "nightly", WHEN, 1, "The server is away.", next_attempt=WHEN)


def serving(handler, kind=HTTPServer):
    server = kind(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_failed_delivery_is_recorded_without_error(caplog):
    class Fails(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_error(503)

        def log_message(self, *_):
            pass

    with serving(Fails) as server:
        url = f"http://127.0.0.1:{server.server_port}/hook?token=secret"
        assert notifications.send(RETRY, [url]) == [
            "retry -> 127.0.0.1: not delivered (HTTPStatusError)"
        ]
        server.shutdown()
    assert notifications.send(RETRY, [url]) == ["retry -> 127.0.0.1: not delivered (ConnectError)"]
    assert "secret" not in caplog.text


def test_mail_contains_event(monkeypatch):
    class Smtp(socketserver.StreamRequestHandler):
        """A mail server that takes one message."""

        def handle(self):
            self.wfile.write(b"220 here\r\n")
            inside = False
            for line in self.rfile:
                heard.append(line.decode().rstrip())
                if inside and heard[-1] != ".":
                    continue
                inside = heard[-1].upper() == "DATA"
                if heard[-1].upper() == "QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                self.wfile.write(b"354 go on\r\n" if inside else b"250 fine\r\n")

    heard = []
    with serving(Smtp, socketserver.ThreadingTCPServer) as server:
        monkeypatch.setenv("CURATION_SMTP", f"smtp://127.0.0.1:{server.server_address[1]}")
        assert notifications.send(RETRY, ["mailto:ada@example.org"]) == [
            "retry -> ada@example.org: delivered"
        ]
        server.shutdown()
    assert "Subject: [curation] nightly: retry" in heard
    assert "To: ada@example.org" in heard
    text = "".join(row.removesuffix("=") for row in heard)  # long lines are folded
    assert "The server is away. Next attempt at 2027-03-26 02:30:00 UTC." in text


def test_missing_mail_server_is_recorded(monkeypatch):
    monkeypatch.delenv("CURATION_SMTP", raising=False)
    (notice,) = notifications.send(RETRY, ["mailto:ada@example.org"])
    assert notice == "retry -> ada@example.org: not delivered (SettingsError)"


def test_every_event_is_logged(caplog):
    with caplog.at_level(logging.INFO):
        assert notifications.send(RETRY, []) == []
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.message.startswith("Job nightly, due 2027-03-26 02:30 UTC: retry. The server")


def test_event_is_plain_json():
    content = json.loads(json.dumps(RETRY.to_json()))
    assert content["due"] == content["next_attempt"] == "2027-03-26T02:30:00+00:00"


@pytest.mark.parametrize("target", ["ada@example.org", "ftp://host/x", "https://", "mailto:ada"])
def test_invalid_recipient_is_refused(target):
    with pytest.raises(JobError, match=r"https://\.\.\. or mailto:"):
        notifications.validate_target(target)
