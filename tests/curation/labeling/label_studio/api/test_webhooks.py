import json
import threading
import time
import urllib.error
import urllib.request

import pytest

from curation.errors import LabelingError
from curation.labeling.label_studio.api import tasks
from curation.labeling.label_studio.api.webhooks import Listener, registered_webhook


def post(url, body=b"{}"):
    request = urllib.request.Request(url, data=body, method="POST")
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.status


def test_request_with_secret_path_is_accepted():
    with Listener() as listener:
        assert not listener.wait(0.01)
        assert post(listener.url, json.dumps({"action": "ANNOTATION_CREATED"}).encode()) == 204
        assert listener.wait(1)
        assert not listener.wait(0.01)


@pytest.mark.parametrize(
    "change", [lambda url: url[:-1], lambda url: url + "x", lambda url: url.rpartition("/")[0]]
)
def test_request_with_other_path_is_rejected(change):
    with Listener() as listener:
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            post(change(listener.url))
        caught.value.close()
        assert not listener.wait(0.05)


def test_large_body_is_not_read():
    with Listener() as listener:
        with pytest.raises((urllib.error.URLError, ConnectionError)) as caught:
            post(listener.url, bytes(2 << 20))
        if isinstance(caught.value, urllib.error.HTTPError):
            caught.value.close()
        assert not listener.wait(0.05)


def test_listeners_have_distinct_secrets_on_loopback():
    with Listener() as first, Listener() as second:
        assert first.url.rpartition("/")[2] != second.url.rpartition("/")[2]
        assert first.url.startswith("http://127.0.0.1:")
        assert len(first.url.rpartition("/")[2]) >= 43


def test_used_port_is_rejected():
    with Listener() as listener:
        port = int(listener.url.split(":")[2].split("/")[0])
        with pytest.raises(LabelingError, match=f"Cannot listen for webhooks on 127.0.0.1:{port}"):
            Listener(port=port)


def test_submission_calls_immediately(label_studio, labeler, make_task):
    batch = [make_task(1)]
    ours = labeler(batch)
    ours.push(batch)
    with ours.open_project() as (client, project), Listener() as listener:
        with registered_webhook(client, project, listener) as called:
            assert called
            (page,) = tasks.pages(client, project)
            listener.wait(0.2)
            began = time.monotonic()
            threading.Timer(
                0.2,
                label_studio.ask,
                ("POST", f"/api/tasks/{page[0]['id']}/annotations/", {"result": []}),
            ).start()
            assert listener.wait(20)
            assert time.monotonic() - began < 15
            assert len(ours.pull("round-01")) == 1
        params = {"project": project}
        assert client.request("list the webhooks", "GET", "api/webhooks/", params=params) == []


def test_rejected_webhook_is_not_an_error(label_studio, connect, proxy, labeler, make_task, caplog):
    batch = [make_task(1)]
    ours = labeler(batch, url=proxy.url)
    ours.push(batch)
    proxy.fault = lambda method, path: "403" if "webhooks" in path else None
    with ours.open_project() as (client, project), Listener() as listener:
        with registered_webhook(client, project, listener) as called:
            assert not called
        assert listener.url.rpartition("/")[2] not in caplog.text
    assert "Pulling at a fixed interval" in caplog.text
