"""Fixtures for tests with a Label Studio server."""

import random

import label_studio_server
import pytest
from fault_proxy import FaultProxy

from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.retry import RetryPolicy
from curation.labeling.label_studio.api.settings import Server


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory):
    """Return a running server; skip the test if none can be started."""
    label_studio_server.require()
    return label_studio_server.shared(tmp_path_factory)


@pytest.fixture
def connect(label_studio):
    """Return `connect(url, token)`, which creates a client with short retry delays."""

    def make(url=None, token=None, *, timeout_s=60.0, attempts=6, rate_limit=None):
        server = Server(url or label_studio.url, token or label_studio.token, rate_limit)
        policy = RetryPolicy(attempts, first_s=0.05, longest_s=0.4, random=random.Random(0))
        return Client(server, retry_policy=policy, timeout_s=timeout_s)

    return make


@pytest.fixture
def proxy(label_studio):
    """Return a proxy in front of the server that passes every request until configured."""
    with FaultProxy(label_studio.url) as fault_proxy:
        yield fault_proxy
