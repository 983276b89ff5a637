"""Panels as the App calls them: on a finished dataset, an empty one, and a stranger's."""

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
        this = rounds.get_round(from_environment().home, whole.name, 1)
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
        assert len(whole.exists(error_analysis.OBJECT_SIZE)) == len(whole.exists("ground_truth"))

    def test_a_stranger_s_truth_is_found_by_itself(self, panel, stranger):
        panel(FAILURES, stranger, "judge")
        (heat,) = panel(FAILURES, stranger, state={"what": "missed"}).data["heat"]
        all_images = heat["z"][heat["y"].index("all (24)")]
        assert dict(zip(heat["x"], all_images, strict=True)) == {"rt": 1, "v8": 0}


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
    monkeypatch.setattr(cache, "LIVE", 5)
    panel_dataset.fill(dataset, 20)
    told = panel(CASCADE, dataset)
    assert "have not been counted" in told.said
    counted = panel(CASCADE, dataset, "count_again", told.state)
    assert "up to date" in counted.data["head"]
    dataset.limit(1).set_values(schema.HARDNESS, [0.5])
    assert "samples have changed since" in panel(CASCADE, dataset).data["head"]


def test_two_pieces_of_one_name_are_refused():
    from curation.app.panels.components import Text

    with pytest.raises(ValueError, match="name of its own"):
        Page.of(Text("a", ""), Text("a", ""))
