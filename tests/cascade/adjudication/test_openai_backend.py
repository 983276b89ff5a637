"""Root and eye behind a real HTTP server of OpenAI's dialect."""

import json
import threading
import time

import cv2
import numpy as np
import pytest
from adjudication_cases import TAXONOMY, case, look, turn, verdict
from language_server import LanguageServer, Told, images_of, text_of

from cascade.adjudication.adjudicate import adjudicate
from cascade.adjudication.limits import Bounds
from cascade.adjudication.openai_backend import ServedEye, ServedRoot
from cascade.adjudication.tools import schema
from cascade.models.language.client import LanguageClient


def is_look(asked):
    return isinstance(asked["messages"][-1]["content"], list)


class Play:
    """Tells the server what to say: two looks at once, then a verdict as they came out."""

    def __init__(self):
        self.both_are_here = threading.Barrier(2)

    def __call__(self, number, asked):
        if is_look(asked):
            self.both_are_here.wait(10)
            return Told('{"answer":"yes","reason":"Orange."}', tokens=_yes(0.75))
        if len(asked["messages"]) == 2:
            return Told(turn(look("o1"), look("o2")))
        results = json.loads(asked["messages"][-1]["content"])["results"]
        return Told(verdict(results[0]["p_yes"]), tokens=(("x", {}),) * 5)


def _yes(p):
    return (
        ('{"answer":"', {}),
        ("yes", {"yes": np.log(p), "no": np.log(1 - p)}),
        ('","reason":"Orange."}', {}),
    )


@pytest.fixture
def server():
    with LanguageServer(Play()) as made:
        yield made


@pytest.fixture
def models(server):
    """Root and eye on clients of their own."""
    clients = [
        LanguageClient(url=server.url, model=name, timeout_s=10, retries=0)
        for name in ("root", "eye")
    ]
    yield ServedRoot(clients[0]), ServedEye(clients[1])
    for one in clients:
        one.close()


def test_a_case_is_settled_over_the_wire(server, models):
    (ruling,) = adjudicate([case()], *models)
    assert ruling.why == "verdict"
    assert ruling.p_yes == pytest.approx(0.75)
    assert [one["model"] for one in server.requests] == ["root", "eye", "eye", "root"]
    assert [(s.operation, s.tokens) for s in ruling.trace.steps] == [
        ("reply", None), ("look", None), ("look", None), ("reply", 5),
    ]  # fmt: skip
    first, shown, *_ = server.requests
    assert first["response_format"]["json_schema"]["schema"] == schema(TAXONOMY)
    assert json.loads(text_of(shown)) == {"question": "Is it a cone?"}


def test_the_eye_gets_the_crop_and_nothing_else(server, models):
    adjudicate([case()], *models)
    looks = [one for one in server.requests if is_look(one)]
    assert [len(images_of(one)) for one in looks] == [1, 1]
    means = []
    for one in looks:
        (encoded,) = images_of(one)
        crop = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        assert min(crop.shape[:2]) > 200  # 32 pixels of the image, enlarged eightfold
        means.append(crop.mean())
    assert sorted(mean > 80 for mean in means) == [False, True]  # the white box, the black one


def test_the_same_models_serve_again(server, models):
    """Their connections outlive the loop of the first call."""
    for _ in range(3):
        assert adjudicate([case()], *models)[0].why == "verdict"


def test_a_server_that_is_gone_leaves_the_weighted_mean(server, models):
    server.stop()
    rulings = adjudicate([case(), case()], *models)
    assert [(one.p_yes, one.why) for one in rulings] == [(0.4, "server")] * 2
    assert "gave no answer" in rulings[0].reason


def test_a_server_that_hangs_is_not_waited_for(server, models):
    released = threading.Event()

    def hang(number, asked):
        released.wait(10)
        return Told(verdict(0.9))

    server.tell = hang
    start = time.monotonic()
    (ruling,) = adjudicate([case()], *models, Bounds(wall_s=0.3))
    assert time.monotonic() - start < 5
    released.set()
    assert (ruling.p_yes, ruling.why) == (0.4, "wall_time")


def test_a_question_that_is_given_up_is_given_up_at_the_server_too(server, models):
    asked, released = threading.Event(), threading.Event()

    def hang(number, _):
        asked.set()
        released.wait(10)
        return Told(verdict(0.9))

    server.tell = hang
    (ruling,) = adjudicate([case()], *models, Bounds(wall_s=0.3))
    assert ruling.why == "wall_time"
    assert asked.is_set()
    assert server.is_hung_up(within_s=5)
    released.set()


def test_many_cases_are_in_flight_at_once(server, models):
    server.tell = lambda number, asked: Told(verdict(0.9), after_s=0.2)
    rulings = adjudicate([case()] * 12, *models, concurrency=12)
    assert {one.why for one in rulings} == {"verdict"}
    assert server.most_at_once >= 8
