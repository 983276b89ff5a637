import socket

import pytest

from curation.app import server as app_server
from curation.errors import AppError


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_port_that_is_taken_is_refused(listener):
    port = listener.getsockname()[1]
    with pytest.raises(AppError, match=f"cannot have port {port}.*--port"):
        app_server.expect_free(port)


def test_a_port_that_is_no_port_is_refused():
    with pytest.raises(AppError, match="cannot have port 65536"):
        app_server.expect_free(65_536)


def test_what_listens_answers(listener):
    app_server.wait_until_it_answers(listener.getsockname()[1], within_s=5)


def test_what_never_listens_is_told_in_words(listener):
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(AppError, match="did not start within 0 s"):
        app_server.wait_until_it_answers(port, within_s=0.3)
