"""The fixtures of every test that works with a Label Studio server."""

import random

import label_studio_server
import pytest
from fault_proxy import FaultProxy

from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.retry import Retrying
from curation.labeling.label_studio.api.settings import Server


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory):
    """Return a running server; the test is skipped where none can be started."""
    label_studio_server.require()
    return label_studio_server.shared(tmp_path_factory)


@pytest.fixture
def connect(label_studio):
    """Return `connect(url, token)`, which makes a client that waits little between attempts."""

    def make(url=None, token=None, *, timeout_s=60.0, attempts=6, rate_limit=None):
        server = Server(url or label_studio.url, token or label_studio.token, rate_limit)
        retrying = Retrying(attempts=attempts, first_s=0.05, longest_s=0.4, random=random.Random(0))
        return Client(server, retrying=retrying, timeout_s=timeout_s)

    return make


@pytest.fixture
def proxy(label_studio):
    """Return a proxy before the server that lets every request pass, until it is told."""
    with FaultProxy(label_studio.url) as made:
        yield made
