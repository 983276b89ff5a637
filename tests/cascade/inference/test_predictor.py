from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from cascade import manifest, registry
from cascade.engine.run import run
from cascade.engine.sinks import MemorySink
from cascade.ensemble import Ensemble
from cascade.errors import CascadeError
from cascade.imaging import batches
from cascade.inference import decision
from cascade.inference.predictor import Predictor
from cascade.predictions import Detections, Failure

CPU = torch.device("cpu")


class Choosy:
    """A detector without boxes that fails on wide images."""

    classes = ("cone",)

    def __init__(self, checkpoint=None):
        self.module = torch.nn.Identity()

    def prepare(self, batch):
        if any(width > 2 * height for height, width in batch.sizes):
            raise CascadeError("too wide to see")
        return {"view": batch.view(8, 8)}

    def forward(self, tensors):
        return tensors["view"]

    def decode(self, raw, batch):
        return [Detections.empty(self.classes) for _ in batch.ids]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Return the files of five noisy images of two sizes."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    paths = []
    for i in range(5):
        size = (120, 200) if i % 2 else (90, 160)
        coarse = generator.integers(0, 255, (size[0] // 10, size[1] // 10, 3), np.uint8)
        paths.append(folder / f"{i}.png")
        cv2.imwrite(str(paths[-1]), cv2.resize(coarse, size[::-1]))
    return paths


def test_predictor_equals_engine_and_decision(tiny_center, photos):
    names = [path.stem for path in photos]
    memory, name = MemorySink(), "tiny_center"
    models = {name: tiny_center.build(name, CPU)}
    members = {name: tiny_center.manifest.member(name)}
    run(models, members, names, photos, memory, device=CPU)
    rows = [memory.results[image_id] for image_id in names]
    images = [batches.read(path) for path in photos]
    sizes = np.array([image.shape[:2] for image in images])
    clusters, decisions = decision.fuse_and_decide(
        decision.collect_votes(rows, tiny_center), tiny_center, sizes
    )

    verdicts = Predictor(tiny_center, CPU).predict(images)
    assert [verdict.p for verdict in verdicts] == pytest.approx(decisions.p.tolist(), abs=1e-6)
    assert [verdict.n_voters for verdict in verdicts] == [1] * 5
    for verdict, objects, row in zip(
        verdicts, decision.fused_detections(clusters), rows, strict=True
    ):
        assert verdict.objects.labels == objects.labels
        np.testing.assert_allclose(verdict.objects.boxes_xyxy, objects.boxes_xyxy, atol=1e-5)
        np.testing.assert_allclose(verdict.members[name].scores, row[name].scores, atol=1e-5)
        assert verdict.yes == (verdict.p >= 0.5)
        assert verdict.failures == {}
    assert sum(len(verdict.members[name]) for verdict in verdicts) > 0


def test_verdict_uses_the_calibrated_threshold(tiny_center, photos):
    image = batches.read(photos[0])
    p = Predictor(tiny_center, CPU).predict([image])[0].p
    for threshold, yes in ((p, True), (p + 1e-6, False)):
        moved = tiny_center.with_calibration(replace(tiny_center.calibration, threshold=threshold))
        assert Predictor(moved, CPU).predict([image])[0].yes is yes


def test_predict_without_images(tiny_center):
    assert Predictor(tiny_center, CPU).predict([]) == []


def test_predictor_uses_the_precision_of_the_manifest(tiny_center, photos):
    """Serving must equal the evaluation in the engine."""
    half = tiny_center.manifest.member("tiny_center").model_copy(update={"precision": "bf16"})
    ensemble = Ensemble.from_manifest(tiny_center.manifest.model_copy(update={"members": (half,)}))
    image = batches.read(photos[0])
    (full,) = Predictor(tiny_center, CPU).predict([image])
    (cast,) = Predictor(ensemble, CPU).predict([image])
    memory = MemorySink()
    run(
        {"m": ensemble.build("tiny_center", CPU)},
        {"m": half},
        ["a"],
        [photos[0]],
        memory,
        device=CPU,
    )
    expected = memory.results["a"]["m"].scores
    np.testing.assert_array_equal(cast.members["tiny_center"].scores, expected)
    scores = full.members["tiny_center"].scores
    assert len(scores) != len(expected) or not np.array_equal(scores, expected)


def test_failed_member_does_not_vote(weights, monkeypatch):
    adapter = registry.Adapter("choosy", "detection", f"{__name__}:Choosy")
    monkeypatch.setitem(registry._adapters, "choosy", adapter)
    text = f"""
        name: two
        members:
          - {{name: small, tier: detection, adapter: center_point, license: MIT,
             source: {weights(0)}}}
          - {{name: choosy, tier: detection, adapter: choosy, vocabulary: [cone], license: MIT}}
        """
    predictor = Predictor(Ensemble.from_manifest(manifest.parse(text)), CPU)
    square, wide = np.zeros((50, 50, 3), np.uint8), np.zeros((50, 150, 3), np.uint8)
    first, second = predictor.predict([square, wide])
    assert (first.n_voters, second.n_voters) == (2, 1)
    assert list(first.members) == ["small", "choosy"]
    assert list(second.members) == ["small"]
    assert second.failures == {"choosy": Failure("CascadeError", "too wide to see")}
    assert second.p is not None


def test_verdict_without_voters(monkeypatch):
    adapter = registry.Adapter("choosy", "detection", f"{__name__}:Choosy")
    monkeypatch.setitem(registry._adapters, "choosy", adapter)
    text = "{name: m, tier: detection, adapter: choosy, vocabulary: [cone], license: MIT}"
    ensemble = Ensemble.from_manifest(manifest.parse(f"name: one\nmembers: [{text}]"))
    (verdict,) = Predictor(ensemble, CPU).predict([np.zeros((50, 150, 3), np.uint8)])
    assert (verdict.p, verdict.yes, verdict.n_voters) == (None, False, 0)
    assert np.isnan(verdict.agreement)
    assert len(verdict.objects) == 0
