"""Panels as called by the App: on a complete dataset, an empty one, and a foreign one."""

import json

import fiftyone as fo
import numpy as np
import panel_dataset
import pytest
from bson import ObjectId
from panel_dataset import view_of
from PIL import Image

from curation.app.panels.components import Page
from curation.presentation import cache, error_analysis
from curation.settings import from_environment
from curation.storage import rounds, schema

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


@pytest.mark.parametrize("uri", ALL)
def test_empty_dataset_shows_the_next_step(panel, dataset, uri):
    response = panel(uri, dataset)
    assert response.notices
    assert any(hint in response.notices for hint in ("curate ", "Click", "operator")), (
        response.notices
    )
    assert "Traceback" not in json.dumps(response.state)


@pytest.mark.parametrize("uri", ALL)
def test_foreign_dataset_is_shown(panel, foreign, uri):
    response = panel(uri, foreign)
    assert response.components
    assert set(response.drawn) == set(response.components)


@pytest.mark.parametrize("uri", ALL)
def test_every_component_is_drawn_and_every_method_exists(panel, scenes, uri):
    response = panel(uri, scenes)
    assert set(response.drawn) == set(response.components)
    assert set(response.data) == {
        name for name, component in response.components.items()
        if component["kind"] in ("text", "plot", "table", "picture")
    }  # fmt: skip


def test_state_is_small_without_plots(panel, scenes):
    """The App sends a panel's state along with every click, but never its data."""
    assert len(json.dumps(panel(HARDNESS, scenes).state)) < 6000


class TestCascade:
    def test_tiers_members_and_failures_are_counted(self, panel, scenes):
        response = panel(CASCADE, scenes)
        reached, stopped = response.data["tiers"]
        assert reached["y"][0] == "detection"
        assert reached["x"][0] == 300 == sum(stopped["x"])
        rows = {row["member"]: row for row in response.data["members"]}
        assert rows[A]["samples"] == "300"
        boxes = scenes.count(f"{A}.detections")
        assert rows[A]["boxes"] == f"{boxes:,}"
        failed = sum(len(failures or ()) for failures in scenes.values("failures"))
        assert sum(response.data["failures"][0]["x"]) == failed > 0

    def test_agreement_is_the_share_of_common_objects(self, panel, scenes):
        (heat,) = panel(CASCADE, scenes).data["agreement"]
        images = scenes.values("consensus.detections.members")
        objects = [set(members) for image in images for members in image or ()]
        n_shared = sum({A, B} <= members for members in objects)
        expected = n_shared / sum(A in members for members in objects)
        row, column = heat["y"].index(A), heat["x"].index(B)
        assert heat["z"][row][column] == pytest.approx(expected, abs=1e-4)
        assert heat["z"][row][row] == 1

    def test_bar_of_tiers_leads_to_its_samples(self, panel, scenes):
        response = panel(CASCADE, scenes, "show_tier", y="detection", trace="stopped here")
        view = view_of(scenes, response.view)
        assert set(map(tuple, view.values("tiers_reached"))) == {("detection",)}
        assert len(view) == panel(CASCADE, scenes).data["tiers"][1]["x"][0]

    def test_cell_of_agreement_leads_to_disagreements(self, panel, scenes):
        response = panel(CASCADE, scenes, "show_disagreement", y=A, x=B)
        for image in view_of(scenes, response.view).values("consensus.detections.members"):
            assert any(A in members and B not in members for members in image)
        assert response.of("set_active_fields") == [{"fields": [A, B]}]

    def test_bar_of_failures_leads_to_its_samples(self, panel, scenes):
        key = panel(CASCADE, scenes).data["failures"][0]["y"][0]
        view = view_of(scenes, panel(CASCADE, scenes, "show_failures", y=key).view)
        assert all(view.values("failures"))

    def test_images_are_compared_without_consensus(self, panel, foreign):
        response = panel(CASCADE, foreign)
        (heat,) = response.data["agreement"]
        assert heat["y"] == ["v8", "rt"], "ground truth without confidences is not a member"
        assert heat["z"] == [[1, pytest.approx(16 / 24, abs=1e-4)], [1, 1]]
        view = view_of(foreign, panel(CASCADE, foreign, "show_disagreement", y="v8", x="rt").view)
        assert len(view) == 8


class TestHardness:
    def test_columns_contain_every_sample_once(self, panel, scenes):
        (bars,) = panel(HARDNESS, scenes).data["distribution"]
        expected, _ = np.histogram(scenes.values("hardness"), bins=20, range=(0, 1))
        assert bars["y"] == expected.tolist()

    def test_column_leads_to_its_samples_hardest_first(self, panel, scenes):
        values = view_of(scenes, panel(HARDNESS, scenes, "show_column", x=0.325).view).values(
            "hardness"
        )
        assert values == sorted(values, reverse=True)
        assert all(0.3 <= value < 0.35 for value in values)

    def test_lasso_leads_to_its_samples_and_tags_them(self, panel, scenes):
        response = panel(HARDNESS, scenes)
        marks = {
            mark: xy
            for trace in response.data["plane"]
            for mark, *xy in zip(trace["ids"], trace["x"], trace["y"], strict=True)
        }
        some = list(marks)[:7]
        picked = panel(HARDNESS, scenes, "select_cells", data=[{"id": mark} for mark in some])
        view = view_of(scenes, picked.view)
        results = scenes.load_brain_results("umap")
        place = dict(zip(results.sample_ids, results.points.round(4).tolist(), strict=True))
        assert sorted(place[i] for i in view.values("id")) == sorted(marks[mark] for mark in some)

        response = panel(HARDNESS, scenes, "tag", {"tag": "look-again"},
                     request={"selected": view.values("id")})  # fmt: skip
        assert response.of("notify")[0]["message"].startswith("7 samples tagged")
        assert len(scenes.match_tags("look-again")) == 7
        scenes.untag_samples("look-again")

    def test_removed_lasso_changes_nothing(self, panel, scenes):
        assert panel(HARDNESS, scenes, "select_cells", data=[]).view is None

    def test_empty_tag_changes_nothing(self, panel, scenes):
        before = scenes.count_sample_tags()
        panel(HARDNESS, scenes, "tag", {"tag": "  "})
        assert scenes.count_sample_tags() == before

    def test_component_leads_to_its_samples(self, panel, scenes):
        values = view_of(scenes, panel(HARDNESS, scenes, "show_component", y="margin").view).values(
            "hardness_margin"
        )
        assert values == sorted(values, reverse=True)


class TestRound:
    def test_arms_and_labels_are_not_cached(self, panel, scenes):
        labeled, waiting = panel(ROUND, scenes).data["arms"]
        assert labeled["y"] == ["hard", "coverage", "slice", "random"]
        batch = scenes.match_tags("round-01")
        assert sum(labeled["x"]) == len(batch.exists("labeled_round"))
        assert sum(labeled["x"]) + sum(waiting["x"]) == 40

    def test_bar_of_arms_leads_to_its_samples(self, panel, scenes):
        view = view_of(scenes, panel(ROUND, scenes, "show_arm", y="random", trace="waiting").view)
        assert all({"round-01", "arm:random"} <= set(tags) for tags in view.values("tags"))
        assert view.exists("labeled_round").count() == 0

    def test_slice_leads_to_its_part_of_the_batch(self, panel, scenes):
        response = panel(ROUND, scenes, "show_slice", y="time_of_day=night", trace="in the batch")
        view = view_of(scenes, response.view)
        assert view.distinct("time_of_day") == ["night"]
        assert len(view) == len(scenes.match_tags("round-01").match({"time_of_day": "night"}))

    def test_metrics_lead_to_changed_decisions(self, panel, scenes):
        ids = scenes.limit(10).values("id")
        this = rounds.get_round(from_environment().home, scenes.name, 1)
        for name, p in (("evaluation_champion.json", 0.9), ("evaluation_challenger.json", 0.1)):
            content = {
                "mcc": 0.5, "recall": 0.6, "precision": 0.7, "map50": p, "n_images": 10,
                "map50_interval": [0.05, 0.95], "split": "test", "threshold": 0.5,
                "samples": {"id": ids, "p": [p] * 3 + [0.7] * 6 + [None]},
            }  # fmt: skip
            this.write(name, content)
        before, after = panel(ROUND, scenes).data["metrics"]
        assert (before["x"][-1], after["x"][-1]) == (0.9, 0.1)
        response = panel(ROUND, scenes, "show_changed")
        assert len(view_of(scenes, response.view)) == 3


class TestFailures:
    def test_cell_of_failures_leads_to_its_samples(self, panel, scenes):
        assert "No member has been compared" in panel(FAILURES, scenes).notices
        panel(FAILURES, scenes, "compare")
        (heat,) = panel(FAILURES, scenes, state={"what": "missed"}).data["heat"]
        row = next(row for row in heat["y"] if row.startswith("time_of_day=night ("))
        i, j = heat["y"].index(row), heat["x"].index(A)
        response = panel(FAILURES, scenes, "show_cell", {"what": "missed"}, y=row, x=A)
        view = view_of(scenes, response.view)
        n = int(row.rpartition("(")[2].rstrip(")"))
        assert heat["z"][i][j] == pytest.approx(len(view) / n, abs=1e-4)
        assert view.distinct("time_of_day") == ["night"]
        assert len(scenes.exists(error_analysis.OBJECT_SIZE)) == len(scenes.exists("ground_truth"))

    def test_ground_truth_of_foreign_dataset_is_detected(self, panel, foreign):
        panel(FAILURES, foreign, "compare")
        (heat,) = panel(FAILURES, foreign, state={"what": "missed"}).data["heat"]
        all_images = heat["z"][heat["y"].index("all (24)")]
        assert dict(zip(heat["x"], all_images, strict=True)) == {"rt": 1, "v8": 0}


class TestSample:
    @pytest.fixture
    def compared(self, dataset, tmp_path):
        """One image with two objects: one member detects one, another has wrong boxes."""
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

    def show(self, panel, dataset, sample):
        return panel(SAMPLE, dataset, request={"current_sample": sample})

    def test_members_are_compared_object_by_object(self, panel, compared):
        response = self.show(panel, compared, compared.first().id)
        lines = response.data["lines"].splitlines()
        assert "- ✓ dfine: cone 0.80" in lines
        assert "- ✗ dfine: no detection: **false negative**" in lines
        assert "- ✗ yolo: cone 0.70: **wrong class**" in lines
        assert any("yolo: cone 0.90" in line and "**false positive**" in line for line in lines)
        assert response.data["picture"].startswith("data:image/jpeg;base64,")

    def test_members_are_compared_with_consensus_without_ground_truth(self, panel, scenes):
        view = scenes.exists("ground_truth", False).match(
            {"consensus.detections.3": {"$exists": 1}}
        )
        response = self.show(panel, scenes, view.first().id)
        assert "no detection" in response.data["lines"]
        assert "false" not in response.data["lines"]
        assert "cannot be shown" in response.notices, "the made-up images do not exist"

    def test_deleted_sample(self, panel, scenes):
        assert "does not exist any more" in self.show(panel, scenes, str(ObjectId())).notices


def test_figures_of_large_dataset_are_cached_and_show_their_age(panel, dataset, monkeypatch):
    monkeypatch.setattr(cache, "MAX_LIVE_SAMPLES", 5)
    panel_dataset.fill(dataset, 20)
    response = panel(CASCADE, dataset)
    assert "have not been counted" in response.notices
    counted = panel(CASCADE, dataset, "recount", response.state)
    assert "up to date" in counted.data["head"]
    dataset.limit(1).set_values(schema.HARDNESS, [0.5])
    assert "samples have changed since" in panel(CASCADE, dataset).data["head"]


def test_duplicate_component_names_are_rejected():
    from curation.app.panels.components import Text

    with pytest.raises(ValueError, match="must be unique"):
        Page.of(Text("a", ""), Text("a", ""))
