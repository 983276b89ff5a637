"""A real Label Studio server, and labelers that work with it."""

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "labeling_server"))

import label_studio_server  # noqa: E402
from fault_proxy import FaultProxy  # noqa: E402

from curation.labeling.label_studio.client import Client  # noqa: E402
from curation.labeling.label_studio.labeler import Known, LabelStudio  # noqa: E402
from curation.labeling.label_studio.retrying import Retrying  # noqa: E402
from curation.labeling.label_studio.server import Server  # noqa: E402


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory):
    """Return a running server; the test is skipped where none can be started."""
    label_studio_server.require()
    server = label_studio_server.LabelStudioServer(tmp_path_factory.mktemp("label_studio"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def connect(label_studio):
    """Return `connect(url, token)`, which makes a client that waits little between attempts."""

    def make(url=None, token=None, *, timeout_s=60.0, attempts=6, rate_limit=None):
        server = Server(url or label_studio.url, token or label_studio.token, rate_limit)
        retrying = Retrying(attempts=attempts, first_s=0.05, longest_s=0.4, random=random.Random(0))
        return Client(server, retrying=retrying, timeout_s=timeout_s)

    return make


@pytest.fixture
def labeler(connect, roadwork, tmp_path, request):
    """Return `labeler(tasks, ...)`: a labeler of a dataset named like the test."""

    def make(tasks=(), *, name=request.node.name, url=None, token=None, overlap=1, **client):
        sizes = {one.sample_id: Known(one.width, one.height, one.filepath) for one in tasks}
        return LabelStudio(
            lambda: connect(url, token, **client),
            dataset=name,
            taxonomy=roadwork,
            known=lambda round_name: sizes,
            folder=tmp_path / "notes",
            overlap=overlap,
        )

    return make


@pytest.fixture
def proxy(label_studio):
    """Return a proxy before the server that lets every request pass, until it is told."""
    with FaultProxy(label_studio.url) as made:
        yield made
