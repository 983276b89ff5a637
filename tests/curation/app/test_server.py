import socket

import pytest

from curation.app import server as app_server
from curation.errors import AppError


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_port_in_use_is_rejected(listener):
    port = listener.getsockname()[1]
    with pytest.raises(AppError, match=f"cannot use port {port}.*--port"):
        app_server.require_free_port(port)


def test_invalid_port_is_rejected():
    with pytest.raises(AppError, match="cannot use port 65536"):
        app_server.require_free_port(65_536)


def test_wait_ends_when_server_answers(listener):
    app_server.wait_until_answering(listener.getsockname()[1], timeout_s=5)


def test_silent_server_is_an_error(listener):
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(AppError, match="did not start within 0 s"):
        app_server.wait_until_answering(port, timeout_s=0.3)
