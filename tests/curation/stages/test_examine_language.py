"""Language members in the cascade: asked, heard, contradicted, and not there."""

import pytest
import torch
from language_server import LanguageServer, ServerReply

from cascade import manifest
from cascade.ensemble import Ensemble
from curation.presentation import refresh
from curation.stages.examine import examine
from curation.stages.fuse import fuse
from curation.storage import reader, schema

CPU = torch.device("cpu")
NO = '{"answer":"no","objects":[],"reason":"An empty road."}'
DRAGON = '{"answer":"yes","objects":["drum"],"reason":"A drum."}'


def ensemble_at(url):
    text = f"""
        name: speaking
        taxonomy: roadwork_core
        members:
          - {{name: tiny_center, tier: detection, adapter: center_point,
             source: "package:tiny_center", license: Apache-2.0}}
          - {{name: vlm, tier: language, adapter: vision_language, license: Apache-2.0,
             params: {{model: vlm, server: "{url}", timeout_s: 5}}}}
        routing: {{precision: [vlm]}}
        """
    return Ensemble.from_manifest(manifest.parse(text))


@pytest.fixture
def served():
    with LanguageServer() as server:
        yield server


@pytest.fixture
def some(predicted, served):
    view = predicted.match({schema.SPLIT: "test"})
    fuse(view, ensemble_at(served.url))
    return view


def looked(view, ensemble, folder, **options):
    return examine(view, ensemble, folder=folder, device=CPU, **options)


def test_answers_are_stored_and_count_in_decision(some, served, tmp_path):
    ensemble = ensemble_at(served.url)
    served.respond = lambda number, request: ServerReply(text=NO)
    before = some.values("roadwork.confidence")
    assert looked(some, ensemble, tmp_path).ran == 19
    assert set(some.values("vlm.label")) == {"no"}
    assert some.values("vlm.reason") == ["An empty road."] * 19
    fuse(some, ensemble)
    after = some.values("roadwork.confidence")
    assert all(new < old or old <= 0.05 for new, old in zip(after, before, strict=True))
    assert set(some.values(schema.N_VOTERS)) == {2}
    assert set(some.values(schema.ANSWERED_BY)) == {"language"}
    assert some.values(schema.TIERS_REACHED) == [["detection", "language"]] * 19


def test_prompt_contains_consensus_of_image(some, served, tmp_path):
    sure = some.match({"consensus.detections.confidence": {"$gt": 0.5}}).limit(1)
    looked(sure, ensemble_at(served.url), tmp_path)
    (request,) = served.requests
    label = max(sure.first().consensus.detections, key=lambda detection: detection.confidence).label
    assert label in str(request["messages"])


def test_unsupported_claim_is_stored_and_in_saved_view(some, served, tmp_path):
    ensemble = ensemble_at(served.url)
    served.respond = lambda number, request: ServerReply(text=DRAGON)
    looked(some, ensemble, tmp_path)
    fuse(some, ensemble)
    contradicting = schema.contradicting_samples(some)
    without = [
        sample.id
        for sample in some
        if not any(b.label == "drum" and b.confidence >= 0.25 for b in sample.consensus.detections)
    ]
    assert sorted(contradicting.values("id")) == sorted(without)
    assert len(without) > 0
    assert "claims drum" in contradicting.first().vlm.contradicts
    refresh.after_stage(some)
    assert "hallucinations" in some._dataset.list_saved_views()


def test_unreachable_server_is_recorded_and_resume_completes(some, served, tmp_path):
    ensemble = ensemble_at(served.url)
    served.respond = lambda number, request: (
        ServerReply() if number < 16 else ServerReply(hangs_up=True)
    )
    first = looked(some, ensemble, tmp_path)
    assert (first.ran, first.failed) == (16, 3)
    records = reader.read_failures(some)
    assert [(record["stage"], record["member"], record["error"]) for record in records] == [
        ("examine", "vlm", "ServerError")
    ] * 3
    fuse(some, ensemble)
    assert sorted(some.values(schema.N_VOTERS)) == [1] * 3 + [2] * 16, "nothing is imputed"
    n_requests = len(served.requests)
    served.respond = lambda number, request: ServerReply()
    again = looked(some, ensemble_at(served.url), tmp_path)
    assert (again.ran, again.skipped) == (3, 16)
    assert len(served.requests) == n_requests + 3, "nobody else was n_requests again"
    assert reader.read_failures(some) == []


def test_routed_mode_asks_only_members_of_path(some, served, tmp_path):
    some.set_values(schema.PATH, ["precision"] * 4 + ["fast_a"] * 5 + ["stop"] * 10)
    done = looked(some, ensemble_at(served.url), tmp_path, mode="routed")
    assert done.asked == {"vlm": 4}
    assert len(served.requests) == 4
