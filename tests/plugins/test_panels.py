"""Panels as the App calls them: on a finished dataset, an empty one, and a stranger's."""

import json
import time
from datetime import UTC, datetime

import fiftyone as fo
import numpy as np
import panel_dataset
import pytest
from bson import ObjectId
from PIL import Image

from curation import fields, rounds
from curation.panels.page import Page
from curation.settings import from_environment
from curation.summary import kept, outcomes

CASCADE = "watch_cascade/cascade_panel"
HARDNESS = "look_at_hardness/hardness_panel"
ROUND = "follow_rounds/round_panel"
FAILURES = "watch_quality/failures_panel"
DRIFT = "watch_quality/drift_panel"
REGISTRY = "promote_ensembles/registry_panel"
RUNS = "follow_runs/runs_panel"
SAMPLE = "compare_members/sample_panel"
ALL = (CASCADE, HARDNESS, ROUND, FAILURES, DRIFT, REGISTRY, RUNS, SAMPLE)
A, B = panel_dataset.MEMBERS[:2]


class Told:
    """What the App is told: what the panel shows, and what else is to be done."""

    def __init__(self, requests, state):
        self._requests = json.loads(json.dumps(requests, default=str))
        self.state, self.data, self.drawn = dict(state), {}, {}
        for one in self._requests:
            verb, params = one["operator_uri"].rpartition("/")[2], one["params"]
            if verb == "patch_panel_state":
                self.state |= params["state"]
            elif verb == "patch_panel_data":
                self.data |= params["data"]
            elif verb == "show_panel_output":
                self.drawn = params["output"]["type"]["properties"]

    @property
    def pieces(self):
        return {one["name"]: one for one in self.state["page"]}

    @property
    def said(self):
        """Every notice, one text."""
        boxes = [one for one in self.pieces.values() if one["kind"] == "notice"]
        return " ".join(f"{one['label']}. {one['description']}" for one in boxes)

    def of(self, verb):
        return [
            one["params"] for one in self._requests
            if one["operator_uri"].rpartition("/")[2] == verb
        ]  # fmt: skip

    @property
    def shown(self):
        """The samples that the grid shows from now on, as stages; None where nothing changed."""
        found = self.of("set_view")
        return found[-1]["view"] if found else None


@pytest.fixture
def panel(execute):
    """Return `panel(uri, dataset, method, state, **params)`: what the App is told."""

    def call(uri, dataset, method="on_load", state=None, request=None, **params):
        outcome = execute(
            uri, dataset, panel_id="p", __method__=method, panel_state=state or {}, **params,
            request=request or {},
        )  # fmt: skip
        assert outcome.error is None, outcome.error
        return Told(outcome.executor.to_json()["requests"], state or {})

    return call


@pytest.fixture
def execute(database, monkeypatch):
    """As the App, which tells which sample is open and what is selected beside the parameters."""
    import asyncio
    from pathlib import Path

    from fiftyone.operators.executor import execute_or_delegate_operator

    plugins = Path(__file__).parents[2] / "plugins"
    monkeypatch.setattr(fo.config, "plugins_dir", str(plugins))

    def run(operator, dataset, *, request, **params):
        told = {"dataset_name": dataset.name, "params": params, **request}
        return asyncio.run(
            execute_or_delegate_operator(f"@curation/{operator}", told, exhaust=True)
        )

    return run


def view_of(dataset, stages):
    return fo.DatasetView._build(dataset, stages)


@pytest.fixture(scope="module")
def whole(database):
    """300 samples of which a round is through; to look at."""
    made = fo.Dataset()
    panel_dataset.fill(made, 300)
    panel_dataset.place(made)
    panel_dataset.choose(made, 1, 40)
    yield made
    made.delete()


@pytest.fixture
def stranger(dataset):
    """What somebody made with FiftyOne alone: names of their own, and nothing of ours."""

    def boxes(*found):
        made = [
            fo.Detection(label=label, bounding_box=box, **({} if p is None else {"confidence": p}))
            for label, box, p in found
        ]
        return fo.Detections(detections=made)

    here, there = [0.2, 0.2, 0.3, 0.3], [0.7, 0.7, 0.2, 0.2]
    size = fo.ImageMetadata(width=640, height=480)
    dataset.add_samples(
        [
            fo.Sample(
                filepath=f"/theirs/{i}.jpg", metadata=size, town="Ulm" if i % 2 else "Graz",
                gt=boxes(("Hat", here, None)),
                v8=boxes(("Hat", here, 0.9)),
                rt=boxes(("Hat", there, 0.8)) if i % 3 else boxes(),
            )
            for i in range(24)
        ]
    )  # fmt: skip
    return dataset


@pytest.mark.parametrize("uri", ALL)
def test_an_empty_dataset_gets_words_that_say_what_to_do(panel, dataset, uri):
    told = panel(uri, dataset)
    assert told.said
    assert any(hint in told.said for hint in ("curate ", "Click", "operator")), told.said
    assert "Traceback" not in json.dumps(told.state)


@pytest.mark.parametrize("uri", ALL)
def test_a_stranger_s_dataset_is_no_error(panel, stranger, uri):
    told = panel(uri, stranger)
    assert told.pieces
    assert set(told.drawn) == set(told.pieces)


@pytest.mark.parametrize("uri", ALL)
def test_every_piece_is_drawn_and_every_method_exists(panel, whole, uri):
    told = panel(uri, whole)
    assert set(told.drawn) == set(told.pieces)
    assert set(told.data) == {
        name for name, one in told.pieces.items()
        if one["kind"] in ("text", "plot", "table", "picture")
    }  # fmt: skip


def test_the_page_of_a_panel_is_small_and_its_plots_are_not_in_it(panel, whole):
    """The App sends a panel's state along with every click, but never its data."""
    assert len(json.dumps(panel(HARDNESS, whole).state)) < 6000


class TestCascade:
    def test_tiers_members_and_failures_are_counted(self, panel, whole):
        told = panel(CASCADE, whole)
        looked, stopped = told.data["tiers"]
        assert looked["y"][0] == "detection"
        assert looked["x"][0] == 300 == sum(stopped["x"])
        rows = {row["member"]: row for row in told.data["members"]}
        assert rows[A]["samples"] == "300"
        boxes = whole.count(f"{A}.detections")
        assert rows[A]["boxes"] == f"{boxes:,}"
        failed = sum(len(one or ()) for one in whole.values("failures"))
        assert sum(told.data["failures"][0]["x"]) == failed > 0

    def test_agreement_is_the_share_of_one_s_objects_that_the_other_found(self, panel, whole):
        (heat,) = panel(CASCADE, whole).data["agreement"]
        found = [set(one) for image in whole.values("consensus.detections.members")
                 for one in image or ()]  # fmt: skip
        expected = sum({A, B} <= one for one in found) / sum(A in one for one in found)
        row, column = heat["y"].index(A), heat["x"].index(B)
        assert heat["z"][row][column] == pytest.approx(expected, abs=1e-4)
        assert heat["z"][row][row] == 1

    def test_a_bar_leads_to_the_samples_where_the_cascade_stopped(self, panel, whole):
        stop = panel(CASCADE, whole, "show_tier", y="detection", trace="went no further")
        view = view_of(whole, stop.shown)
        assert set(map(tuple, view.values("tiers_reached"))) == {("detection",)}
        assert len(view) == panel(CASCADE, whole).data["tiers"][1]["x"][0]

    def test_a_cell_leads_to_what_one_found_and_the_other_did_not(self, panel, whole):
        told = panel(CASCADE, whole, "show_disagreement", y=A, x=B)
        for image in view_of(whole, told.shown).values("consensus.detections.members"):
            assert any(A in one and B not in one for one in image)
        assert told.of("set_active_fields") == [{"fields": [A, B]}]

    def test_a_bar_of_failures_leads_to_them(self, panel, whole):
        key = panel(CASCADE, whole).data["failures"][0]["y"][0]
        view = view_of(whole, panel(CASCADE, whole, "show_failed", y=key).shown)
        assert all(view.values("failures"))

    def test_without_a_consensus_images_are_compared(self, panel, stranger):
        told = panel(CASCADE, stranger)
        (heat,) = told.data["agreement"]
        assert heat["y"] == ["v8", "rt"], "ground truth without confidences is no member"
        assert heat["z"] == [[1, pytest.approx(16 / 24, abs=1e-4)], [1, 1]]
        view = view_of(
            stranger, panel(CASCADE, stranger, "show_disagreement", y="v8", x="rt").shown
        )
        assert len(view) == 8


class TestHardness:
    def test_columns_hold_every_sample_once(self, panel, whole):
        (bars,) = panel(HARDNESS, whole).data["distribution"]
        expected, _ = np.histogram(whole.values("hardness"), bins=20, range=(0, 1))
        assert bars["y"] == expected.tolist()

    def test_a_column_leads_to_its_samples_hardest_first(self, panel, whole):
        values = view_of(whole, panel(HARDNESS, whole, "show_column", x=0.325).shown).values(
            "hardness"
        )
        assert values == sorted(values, reverse=True)
        assert all(0.3 <= one < 0.35 for one in values)

    def test_a_lasso_leads_to_its_samples_and_tags_them(self, panel, whole):
        told = panel(HARDNESS, whole)
        marks = {
            one: xy
            for trace in told.data["plane"]
            for one, *xy in zip(trace["ids"], trace["x"], trace["y"], strict=True)
        }
        some = list(marks)[:7]
        picked = panel(HARDNESS, whole, "pick", data=[{"id": one} for one in some])
        view = view_of(whole, picked.shown)
        results = whole.load_brain_results("umap")
        place = dict(zip(results.sample_ids, results.points.round(4).tolist(), strict=True))
        assert sorted(place[one] for one in view.values("id")) == sorted(marks[m] for m in some)

        said = panel(HARDNESS, whole, "tag", {"tag": "look-again"},
                     request={"selected": view.values("id")})  # fmt: skip
        assert said.of("notify")[0]["message"].startswith("7 samples tagged")
        assert len(whole.match_tags("look-again")) == 7
        whole.untag_samples("look-again")

    def test_a_lasso_that_is_taken_away_changes_nothing(self, panel, whole):
        assert panel(HARDNESS, whole, "pick", data=[]).shown is None

    def test_without_a_word_nothing_is_tagged(self, panel, whole):
        before = whole.count_sample_tags()
        panel(HARDNESS, whole, "tag", {"tag": "  "})
        assert whole.count_sample_tags() == before

    def test_the_greatest_part_leads_to_its_samples(self, panel, whole):
        values = view_of(whole, panel(HARDNESS, whole, "show_part", y="margin").shown).values(
            "hardness_margin"
        )
        assert values == sorted(values, reverse=True)


class TestRound:
    def test_arms_and_labels_are_counted_now(self, panel, whole):
        labeled, waiting = panel(ROUND, whole).data["arms"]
        assert labeled["y"] == ["hard", "coverage", "slice", "random"]
        batch = whole.match_tags("round-01")
        assert sum(labeled["x"]) == len(batch.exists("labeled_round"))
        assert sum(labeled["x"]) + sum(waiting["x"]) == 40

    def test_a_bar_leads_to_its_arm(self, panel, whole):
        view = view_of(whole, panel(ROUND, whole, "show_arm", y="random", trace="waiting").shown)
        assert all({"round-01", "arm:random"} <= set(one) for one in view.values("tags"))
        assert view.exists("labeled_round").count() == 0

    def test_a_slice_leads_to_its_part_of_the_batch(self, panel, whole):
        told = panel(ROUND, whole, "show_slice", y="time_of_day=night", trace="in the batch")
        view = view_of(whole, told.shown)
        assert view.distinct("time_of_day") == ["night"]
        assert len(view) == len(whole.match_tags("round-01").match({"time_of_day": "night"}))

    def test_before_and_after_are_shown_and_lead_to_what_changed(self, panel, whole):
        ids = whole.limit(10).values("id")
        this = rounds.of_dataset(from_environment().home, whole.name, 1)
        for name, p in (("evaluation_champion.json", 0.9), ("evaluation_challenger.json", 0.1)):
            content = {
                "mcc": 0.5, "recall": 0.6, "precision": 0.7, "map50": p, "n_images": 10,
                "map50_interval": [0.05, 0.95], "split": "test", "threshold": 0.5,
                "samples": {"id": ids, "p": [p] * 3 + [0.7] * 6 + [None]},
            }  # fmt: skip
            this.write(name, content)
        before, after = panel(ROUND, whole).data["metrics"]
        assert (before["x"][-1], after["x"][-1]) == (0.9, 0.1)
        told = panel(ROUND, whole, "show_changed")
        assert len(view_of(whole, told.shown)) == 3


class TestFailures:
    def test_members_are_compared_and_a_cell_leads_to_their_failures(self, panel, whole):
        assert "Nobody has been compared" in panel(FAILURES, whole).said
        panel(FAILURES, whole, "judge")
        (heat,) = panel(FAILURES, whole, state={"what": "missed"}).data["heat"]
        row = next(one for one in heat["y"] if one.startswith("time_of_day=night ("))
        i, j = heat["y"].index(row), heat["x"].index(A)
        told = panel(FAILURES, whole, "show_cell", {"what": "missed"}, y=row, x=A)
        view = view_of(whole, told.shown)
        n = int(row.rpartition("(")[2].rstrip(")"))
        assert heat["z"][i][j] == pytest.approx(len(view) / n, abs=1e-4)
        assert view.distinct("time_of_day") == ["night"]
        assert len(whole.exists(outcomes.OBJECT_SIZE)) == len(whole.exists("ground_truth"))

    def test_a_stranger_s_truth_is_found_by_itself(self, panel, stranger):
        panel(FAILURES, stranger, "judge")
        (heat,) = panel(FAILURES, stranger, state={"what": "missed"}).data["heat"]
        all_images = heat["z"][heat["y"].index("all (24)")]
        assert dict(zip(heat["x"], all_images, strict=True)) == {"rt": 1, "v8": 0}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A registry on disk; to make its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


class TestRegistry:
    def test_a_registry_that_is_down_is_said_in_words(self, panel, whole, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        began = time.monotonic()
        assert "No MLflow answers" in panel(REGISTRY, whole).said
        assert time.monotonic() - began < 10

    def test_a_move_is_asked_for_and_signed(self, panel, whole, store, tmp_path, monkeypatch):
        from curation.tracking import Registry

        monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        versions = register(Registry(store, tmp_path / "artifacts"), whole.name, tmp_path)
        told = panel(REGISTRY, whole)
        assert "Version 1 is in service" in told.data["head"]
        assert [row["is"] for row in told.data["versions"]] == ["challenger", "champion"]

        asked = panel(REGISTRY, whole, "ask_row", row=0)
        assert "Put version 2 into service?" in asked.said
        unsigned = panel(REGISTRY, whole, "confirm", asked.state)
        assert "Say who answers for it" in unsigned.of("notify")[0]["message"]
        signed = asked.state | {"by": "Ada", "why": "read the verdict"}
        done = panel(REGISTRY, whole, "confirm", signed)
        assert "Version 2 is champion" in done.of("notify")[0]["message"]
        assert done.state["pending"] is None

        back = panel(REGISTRY, whole, "ask", pending="rollback:2").state
        panel(REGISTRY, whole, "confirm", back | {"by": "Ada", "why": "misses cones"})
        registry = Registry(store, tmp_path / "artifacts")
        assert registry.champion(whole.name) == versions[0]
        told = panel(REGISTRY, whole)
        assert [row["by"] for row in told.data["trail"]] == ["Ada", "Ada", "gate"]

    def test_what_the_gate_refused_is_not_promoted(
        self, panel, dataset, store, tmp_path, monkeypatch
    ):
        from curation.tracking import Registry

        monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        registry = Registry(store, tmp_path / "artifacts")
        versions = register(registry, dataset.name, tmp_path, verdict="keep")
        state = {"pending": versions[1], "by": "Ada", "why": "I like it"}
        told = panel(REGISTRY, dataset, "confirm", state)
        assert "verdict on version 2 is keep" in told.of("notify")[0]["message"]
        assert registry.champion(dataset.name) == versions[0]


def register(registry, name, folder, verdict="promote"):
    """Register two versions, the first in service, the second judged; return their numbers."""
    from curation import database
    from curation.mongod import client_of
    from curation.tracking.promotion import Promotions

    versions = []
    for i in range(2):
        ensemble = folder / f"ensemble-{i}"
        ensemble.mkdir()
        (ensemble / "manifest.yaml").write_text(f"name: made-up-{i}\n")
        tags = {"round": str(i), "verdict": verdict if i else "bootstrap",
                "judged_against": "1", "reasons": "MCC changed by +0.1."}  # fmt: skip
        versions.append(registry.register(ensemble, name=name, identity=f"hash{i}", tags=tags))
    uri = database.connect(from_environment()).uri
    with client_of(uri) as client:
        moving = Promotions(registry, client["tests"])
        moving.promote(name, versions[0], by="gate", why="the first", verdict="bootstrap")
    registry.challenge(name, versions[1])
    return versions


class TestDrift:
    @pytest.fixture
    def embedded(self, dataset, tmp_path):
        """100 samples of ten drives, of which the last ten look like nothing before."""
        from curation import similarity
        from curation.vectors import Vectors

        rng = np.random.default_rng(0)
        dataset.add_samples(
            [fo.Sample(filepath=f"/{i:03d}.jpg", drive=f"d{i // 10}") for i in range(100)]
        )
        ids = dataset.values("id")
        vectors = rng.normal(0, 0.1, (100, 8)) + np.eye(8)[[0] * 90 + [1] * 10]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        similarity.remember_embedder(dataset, tmp_path, "dino", "f")
        Vectors(tmp_path, "f").add(ids, vectors.astype(np.float32))
        return dataset

    def test_what_the_grid_shows_is_compared_with_the_rest(self, panel, embedded):
        assert "Nothing has been compared" in panel(DRIFT, embedded).said
        strange = embedded.match({"drive": "d9"})
        told = panel(DRIFT, embedded, "measure", which="grid",
                     request={"view": strange._serialize()})  # fmt: skip
        assert "Nothing like those before: 10 images in the grid" in told.said
        (bars,) = told.data["distances"]
        assert sum(bars["y"]) == 10
        column = next(x for x, n in zip(bars["x"], bars["y"], strict=True) if n)
        shown = panel(DRIFT, embedded, "show_column", x=column)
        assert set(view_of(embedded, shown.shown).values("id")) <= set(strange.values("id"))

    def test_too_few_are_refused_in_words(self, panel, embedded):
        few = embedded.limit(2)
        told = panel(DRIFT, embedded, "measure", which="grid", request={"view": few._serialize()})
        assert "too few to compare" in told.of("notify")[0]["message"]

    def test_what_the_jobs_found_is_listed(self, panel, embedded):
        from curation.jobs.history import History
        from curation.jobs.policy import Entry
        from curation.jobs.record import Job

        history = History(embedded._sample_collection.database)
        due = datetime(2026, 1, 2, tzinfo=UTC)
        history.add(Job("watch-site", "drift", due, every_s=60, options={"dataset": embedded.name}))
        history.note("watch-site", [Entry(due, "refused", "60 % of 10 new images are farther")])
        (row,) = panel(DRIFT, embedded).data["jobs"]
        assert (row["job"], row["state"]) == ("watch-site", "refused")
        assert row["said"].startswith("60 %")
        history.remove("watch-site")


class TestRuns:
    @pytest.fixture
    def queued(self, dataset):
        """A dataset with one queued, one running, one failed operation."""
        from fiftyone.operators.delegated import DelegatedOperationService
        from fiftyone.operators.executor import ExecutionContext, ExecutionRunState

        service = DelegatedOperationService()
        made = []
        for label in ("waits", "runs", "broke"):
            ctx = ExecutionContext(
                request_params={"dataset_name": dataset.name, "dataset_id": str(dataset._doc.id),
                                "params": {}},
                operator_uri="@curation/rank_samples/score_hardness",
            )  # fmt: skip
            made.append(
                service.queue_operation(
                    operator="@curation/rank_samples/score_hardness", label=label,
                    context=ctx, delegation_target="local",
                ).id
            )  # fmt: skip
        service._repo.update_run_state(_id=made[1], run_state=ExecutionRunState.RUNNING)
        service.set_failed(made[2], result=None)
        yield dataset
        for one in service.list_operations(dataset_name=dataset.name):
            service.delete_operation(one.id)

    def test_runs_are_listed_with_what_can_be_done(self, panel, queued):
        told = panel(RUNS, queued)
        assert [row["what"] for row in told.data["runs"]] == ["runs", "waits", "broke"]
        actions = {one["method"]: one["rows"] for one in told.pieces["runs"]["actions"]}
        assert actions == {
            "log": None, "cancel": [True, True, False], "rerun": [False, False, True],
        }  # fmt: skip
        assert "timer" in told.pieces, "it looks again by itself while something runs"

    def test_one_that_waits_is_cancelled_and_run_again(self, panel, queued):
        listed = panel(RUNS, queued).state
        told = panel(RUNS, queued, "cancel", listed, row=1)
        states = {row["what"]: row["state"] for row in told.data["runs"]}
        assert states["waits"] == "cancelled"
        row = [one["what"] for one in told.data["runs"]].index("waits")
        again = panel(RUNS, queued, "rerun", told.state, row=row)
        assert sum(one["state"].startswith("queued") for one in again.data["runs"]) == 1

    def test_a_log_is_shown_and_closed(self, panel, queued):
        told = panel(RUNS, queued, "log", panel(RUNS, queued).state, row=2)
        assert "It said nothing" in told.data["log"]
        assert "log" not in panel(RUNS, queued, "close_log", told.state).pieces

    def test_all_datasets_can_be_looked_at(self, panel, queued):
        told = panel(RUNS, queued, "change", value="everywhere", path="whose")
        assert queued.name in {row["dataset"] for row in told.data["runs"]}


class TestSample:
    @pytest.fixture
    def judged(self, dataset, tmp_path):
        """One image with two objects: one member finds one, another sees something else."""
        file = tmp_path / "scene.png"
        Image.fromarray(np.full((120, 160, 3), 90, np.uint8)).save(file)

        def box(label, corner, **more):
            return fo.Detection(label=label, bounding_box=[*corner, 0.2, 0.2], **more)

        dataset.add_sample(
            fo.Sample(
                filepath=str(file),
                ground_truth=fo.Detections(
                    detections=[box("cone", (0.1, 0.1)), box("drum", (0.6, 0.6))]
                ),
                dfine=fo.Detections(detections=[box("cone", (0.1, 0.1), confidence=0.8)]),
                yolo=fo.Detections(
                    detections=[
                        box("cone", (0.6, 0.6), confidence=0.7),
                        box("cone", (0.1, 0.7), confidence=0.9),
                    ]
                ),
            )
        )
        return dataset

    def shown(self, panel, dataset, sample):
        return panel(SAMPLE, dataset, request={"current_sample": sample})

    def test_every_member_is_told_right_or_wrong(self, panel, judged):
        told = self.shown(panel, judged, judged.first().id)
        lines = told.data["lines"].splitlines()
        assert "- ✓ dfine: cone 0.80" in lines
        assert "- ✗ dfine: no detection: **false negative**" in lines
        assert "- ✗ yolo: cone 0.70: **wrong class**" in lines
        assert any("yolo: cone 0.90" in one and "**false positive**" in one for one in lines)
        assert told.data["picture"].startswith("data:image/jpeg;base64,")

    def test_without_truth_the_members_are_compared_with_the_ensemble(self, panel, whole):
        view = whole.exists("ground_truth", False).match({"consensus.detections.3": {"$exists": 1}})
        told = self.shown(panel, whole, view.first().id)
        assert "no detection" in told.data["lines"]
        assert "false" not in told.data["lines"]
        assert "cannot be read" in told.said, "the made-up images do not exist"

    def test_a_sample_that_is_gone_is_said_so(self, panel, whole):
        assert "gone" in self.shown(panel, whole, str(ObjectId())).said


def test_figures_of_a_large_dataset_are_kept_and_say_that_they_are_old(panel, dataset, monkeypatch):
    monkeypatch.setattr(kept, "LIVE", 5)
    panel_dataset.fill(dataset, 20)
    told = panel(CASCADE, dataset)
    assert "have not been counted" in told.said
    counted = panel(CASCADE, dataset, "count_again", told.state)
    assert "up to date" in counted.data["head"]
    dataset.limit(1).set_values(fields.HARDNESS, [0.5])
    assert "samples have changed since" in panel(CASCADE, dataset).data["head"]


def test_two_pieces_of_one_name_are_refused():
    from curation.panels.page import Text

    with pytest.raises(ValueError, match="name of its own"):
        Page.of(Text("a", ""), Text("a", ""))
