import json
import threading
import time
import urllib.error
import urllib.request

import pytest

from curation.errors import LabelingError
from curation.labeling.label_studio.api import tasks
from curation.labeling.label_studio.api.webhooks import Listener, announced, registered


def post(url, body=b"{}"):
    request = urllib.request.Request(url, data=body, method="POST")
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.status


def test_who_knows_the_path_is_heard():
    with Listener() as listener:
        assert not listener.wait(0.01)
        assert post(listener.url, json.dumps({"action": "ANNOTATION_CREATED"}).encode()) == 204
        assert listener.wait(1)
        assert not listener.wait(0.01)


@pytest.mark.parametrize(
    "change", [lambda url: url[:-1], lambda url: url + "x", lambda url: url.rpartition("/")[0]]
)
def test_who_does_not_is_not(change):
    with Listener() as listener:
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            post(change(listener.url))
        caught.value.close()
        assert not listener.wait(0.05)


def test_a_body_that_is_too_large_is_not_read():
    with Listener() as listener:
        with pytest.raises((urllib.error.URLError, ConnectionError)) as caught:
            post(listener.url, bytes(2 << 20))
        if isinstance(caught.value, urllib.error.HTTPError):
            caught.value.close()
        assert not listener.wait(0.05)


def test_every_listener_has_a_secret_of_its_own_on_loopback():
    with Listener() as one, Listener() as other:
        assert one.url.rpartition("/")[2] != other.url.rpartition("/")[2]
        assert one.url.startswith("http://127.0.0.1:")
        assert len(one.url.rpartition("/")[2]) >= 43


def test_a_taken_port_is_refused_in_words():
    with Listener() as one:
        port = int(one.url.split(":")[2].split("/")[0])
        with pytest.raises(LabelingError, match=f"Cannot listen for webhooks on 127.0.0.1:{port}"):
            Listener(port=port)


def test_a_submission_calls_at_once(label_studio, labeler, make_task):
    given = [make_task(1)]
    ours = labeler(given)
    ours.push(given)
    with ours.project() as (client, project), Listener() as listener:
        with announced(client, project, listener) as called:
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
        assert registered(client, project) == {}


def test_a_server_that_refuses_is_no_obstacle(
    label_studio, connect, proxy, labeler, make_task, caplog
):
    given = [make_task(1)]
    ours = labeler(given, url=proxy.url)
    ours.push(given)
    proxy.fault = lambda method, path: "403" if "webhooks" in path else None
    with ours.project() as (client, project), Listener() as listener:
        with announced(client, project, listener) as called:
            assert not called
        assert listener.url.rpartition("/")[2] not in caplog.text
    assert "Pulling by the clock" in caplog.text
