import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from language_server import LanguageServer, ServerReply, images_of, text_of

from cascade import registry, taxonomy
from cascade.engine.run import run
from cascade.engine.sinks import MemorySink
from cascade.errors import CheckpointError, ServerError
from cascade.imaging.batches import Batch, read
from cascade.manifest import Member
from cascade.models.language.vision_language import VisionLanguage, encode_jpeg
from cascade.predictions import Answer, Detections, Failure
from cascade.protocols import LanguageModel, predict

ROADS = taxonomy.from_labels("roads", ["cone", "worker"], ["cone"])
CPU = torch.device("cpu")


@pytest.fixture
def server():
    with LanguageServer() as made:
        yield made


@pytest.fixture
def model(server):
    made = VisionLanguage(taxonomy=ROADS, model="tiny", server=server.url, timeout_s=5.0)
    yield made
    made.client.close()


def image(height=60, width=90, level=128):
    return np.full((height, width, 3), level, np.uint8)


def batch(*images, detections=()):
    ids = tuple(f"{i}" for i in range(len(images)))
    return Batch(ids=ids, images=images, detections=detections)


def cones(*boxes, score=0.5):
    return Detections(
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.full(len(boxes), score, np.float32),
        class_ids=np.zeros(len(boxes), np.int64),
        classes=ROADS.names,
    )


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def brightness_of(request):
    return float(decoded(images_of(request)[0]).mean())


def test_registry_builds_model_without_server():
    made = registry.create("vision_language", taxonomy=ROADS, model="tiny")
    assert isinstance(made, LanguageModel)
    assert list(made.module.parameters()) == []
    made.client.close()


def test_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="Omit `source`"):
        VisionLanguage(tmp_path, taxonomy=ROADS, model="tiny")


def test_invalid_url_is_refused():
    with pytest.raises(ServerError, match="URL"):
        VisionLanguage(taxonomy=ROADS, model="tiny", server="here")


def test_server_url_from_environment(server, monkeypatch):
    monkeypatch.setenv("CURATION_VLM_URL", server.url)
    made = VisionLanguage(taxonomy=ROADS, model="tiny")
    assert predict(made, batch(image()))[0].p_yes == 1.0
    made.client.close()


def test_answers_keep_order_of_images(server, model):
    def bright(number, request):
        return ServerReply(
            text="yes" if brightness_of(request) > 100 else "no", after_s=number % 3 * 0.02
        )

    server.respond = bright
    levels = [250, 10, 200, 30, 150, 50]
    answers = predict(model, batch(*(image(level=level) for level in levels)))
    assert [answer.p_yes for answer in answers] == [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]


def test_empty_batch_has_no_predictions(server, model):
    assert predict(model, batch()) == []
    assert server.requests == []


def test_constant_text_precedes_image(server, model):
    detections = (cones([0, 0, 0.1, 0.1]), cones([0.9, 0, 1, 1]))
    predict(model, batch(image(), image(), detections=detections))
    system = {request["messages"][0]["content"] for request in server.requests}
    assert len(system) == 1
    assert "cone, worker" in system.pop()
    for request in server.requests:
        assert [part["type"] for part in request["messages"][1]["content"]] == ["image_url", "text"]
        assert text_of(request).endswith(ROADS.decision.question)
    texts = sorted(text_of(request).splitlines()[0] for request in server.requests)
    assert texts == [
        "The detectors say: 1 cone at left (0.50).",
        "The detectors say: 1 cone at right (0.50).",
    ]


def test_probability_comes_from_tokens(server, model):
    weights = {"yes": float(np.log(0.6)), "no": float(np.log(0.2))}
    server.respond = lambda number, request: ServerReply(text="yes", tokens=(("yes", weights),))
    (answer,) = predict(model, batch(image()))
    assert answer.p_yes == pytest.approx(0.75)


def test_reason_and_objects_are_returned(model):
    assert predict(model, batch(image())) == [Answer(1.0, "A cone.", ("cone",))]


def test_irrelevant_answer_is_empty_answer(server, model):
    server.respond = lambda number, request: ServerReply(text="What a nice picture.")
    assert predict(model, batch(image())) == [Answer.empty()]


def test_refused_image_is_failure_at_its_position(server, model):
    server.respond = lambda number, request: ServerReply(
        status=400 if brightness_of(request) < 20 else 200
    )
    first, dark, last = predict(model, batch(image(), image(level=0), image()))
    assert first.p_yes == last.p_yes == 1.0
    assert isinstance(dark, Failure)
    assert dark.error == "ServerError"
    assert "status 400" in dark.message


def test_dead_server_causes_no_halving_of_batches(server, tmp_path):
    """The engine gets every image back at the first call, and records each."""
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path in paths:
        cv2.imwrite(str(path), image())
    model = VisionLanguage(taxonomy=ROADS, model="tiny", server=server.url)
    server.stop()
    calls = []
    forward = model.forward
    model.forward = lambda tensors: calls.append(len(tensors["questions"])) or forward(tensors)
    sink = MemorySink()
    member = Member(
        name="vlm", tier="language", adapter="vision_language", license="MIT", batch_size=4
    )
    ids = [path.stem for path in paths]
    tally = run({"vlm": model}, {"vlm": member}, ids, paths, sink, device=CPU)
    model.client.close()
    assert calls == [4, 4, 4]
    assert tally.failed == 12
    assert {sink.results[sample_id]["vlm"].error for sample_id in ids} == {"ServerError"}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param((60, 90), (60, 90), id="a small one stays"),
        pytest.param((2000, 1000), (1024, 512), id="a tall one"),
        pytest.param((300, 4000), (77, 1024), id="a wide one"),
        pytest.param((1, 5000), (1, 1024), id="a line"),
    ],
)
def test_sent_images_have_bounded_size(server, model, size, expected):
    predict(model, batch(image(*size)))
    (sent,) = images_of(server.requests[0])
    assert decoded(sent).shape == (*expected, 3)


def test_sent_images_keep_colors():
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 0] = 255
    blue, green, seen_red = decoded(encode_jpeg(red, max_side_px=100)).reshape(-1, 3).mean(axis=0)
    assert seen_red > 240
    assert max(blue, green) < 15


def test_close_ups_follow_full_image(server):
    model = VisionLanguage(taxonomy=ROADS, model="tiny", server=server.url, crops=2)
    picture = image(400, 600, level=0)
    picture[200:220, 300:320] = 255  # small, bright, in the middle
    detections = cones([300 / 600, 200 / 400, 320 / 600, 220 / 400])
    predict(model, batch(picture, picture, detections=(detections, cones())))
    model.client.close()
    by_count = {len(images_of(request)): request for request in server.requests}
    assert set(by_count) == {1, 2}  # the second image has no close-ups
    full, close_up = (decoded(picture) for picture in images_of(by_count[2]))
    assert full.shape == (400, 600, 3)
    assert max(close_up.shape) == 224
    assert close_up.mean() > 20 > full.mean()
    assert "Close-up 1 shows what may be cone in the middle (0.50)." in text_of(by_count[2])


def test_box_without_area_has_close_up(server):
    model = VisionLanguage(taxonomy=ROADS, model="tiny", server=server.url, crops=3)
    detections = cones([1, 1, 1, 1], [0, 0, 0, 0], [0.5, 0, 0.5, 1])
    (answer,) = predict(model, batch(image(), detections=(detections,)))
    model.client.close()
    assert answer.p_yes == 1.0
    assert len(images_of(server.requests[0])) == 4


@pytest.mark.skipif("CURATION_SHARED" not in os.environ, reason="CURATION_SHARED is not set")
def test_photographs_are_sent_uncropped(server, model):
    clips = Path(os.environ["CURATION_SHARED"]) / "data" / "roadwork_clips"
    paths = sorted(clips.rglob("*.jpg"))[:4]
    assert len(paths) == 4
    images = [read(path) for path in paths]
    assert [answer.p_yes for answer in predict(model, batch(*images))] == [1.0] * 4
    sent = sorted(decoded(images_of(request)[0]).shape for request in server.requests)
    scales = [min(1.0, 1024 / max(image.shape[:2])) for image in images]
    expected = [
        (round(image.shape[0] * s), round(image.shape[1] * s), 3)
        for image, s in zip(images, scales, strict=True)
    ]
    assert sent == sorted(expected)
