import json
from dataclasses import replace

import pytest

from curation.report import compose
from curation.report.facts import Facts, MemberCost, Story

NOTHING = Story(number=1, record={"round": 1, "stages": {}, "failures": []})


def section(page, title):
    return next(one for one in page.sections if one.title == title)


def texts(section):
    return [[cell.text for cell in row] for table in section.tables for row in table.rows]


def test_a_whole_round_leaves_no_section_out(make_facts, make_story):
    page = compose.compose(make_facts(), make_story(2), [make_story(1)])
    assert [one.title for one in page.sections if one.not_run] == []
    assert page.tone == "good"
    assert page.headline.startswith("40 images chosen and labeled. The challenger is promoted.")


def test_a_dataset_that_was_only_ranked_says_what_was_not_run(make_facts):
    facts = replace(make_facts(labeled=False), labeled=0)
    page = compose.compose(facts, NOTHING)
    absent = {one.title for one in page.sections if one.not_run}
    assert absent == {
        "What labeling found",
        "Before and after",
        "By slice",
        "Verdict",
        "Rounds so far",
        "Training",
        "Time by stage",
    }
    assert page.headline == "40 images chosen. No challenger was judged."
    assert ["tiny_center", "612", "900", "1.47", "500"] in texts(
        section(page, "What the ensemble says")
    )


def test_an_empty_dataset_has_a_page():
    page = compose.compose(Facts(dataset="void", samples=0, splits={}, labeled=0), NOTHING)
    assert page.headline == "Nothing was chosen. No challenger was judged."
    assert section(page, "What was chosen, and why").not_run
    assert section(page, "What failed").text == ("Nothing failed.",)


def test_the_random_arm_stands_beside_the_hard_one(make_facts, make_story):
    found = section(compose.compose(make_facts(), make_story()), "What labeling found")
    assert ["hard", "24", "15", "62%", "43% to 79%", "9", "14", "6"] in texts(found)
    assert ["random", "6", "1", "17%", "3% to 56%", "1", "1", "0"] in texts(found)
    assert any("hard arm fails on 62%" in one and "may be chance" in one for one in found.text)


def test_without_a_random_arm_nothing_is_compared(make_facts, make_story):
    story = make_story()
    summary = story.record["stages"]["label"]["summary"]
    del summary["failure_yield"]["random"]
    found = section(compose.compose(make_facts(), story), "What labeling found")
    assert any("no random arm beside" in one for one in found.text)


def test_submissions_under_review_are_listed(make_facts, make_story):
    story = make_story()
    review = [{"sample": "id7", "what": "dragon", "reason": "No class is called so."}]
    story.record["stages"]["label"]["summary"]["review"] = review
    found = section(compose.compose(make_facts(), story), "What labeling found")
    assert ["id7", "dragon", "No class is called so."] in texts(found)


def test_metrics_are_told_as_a_whole_by_member_and_by_class(make_facts, make_story):
    rows = texts(section(compose.compose(make_facts(), make_story()), "Before and after"))
    names = [row[0] for row in rows]
    assert names[:6] == [
        "MCC",
        "precision",
        "recall",
        "calibration error",
        "mAP",
        "mAP at IoU 0.5",
    ]
    assert ["tiny_center", "0.350", "0.450", "+0.100"] in rows
    assert ["drum", "17", "not defined", "not defined", "not defined"] in rows
    assert rows[0][3].endswith("better")


def test_no_verdict_is_said_plainly(make_facts, make_story):
    story = make_story()
    verdict = dict(story.verdict)
    verdict |= {"outcome": "no_verdict", "delta_mcc": None, "lower": None, "upper": None}
    verdict |= {"reasons": ["All 240 images have the answer yes."], "needed": "Take 300 images."}
    page = compose.compose(make_facts(), replace(story, verdict=verdict))
    assert "There is no verdict, so the champion stays." in page.headline
    assert "Take 300 images." in section(page, "Verdict").text


def test_every_check_is_told_in_words(make_facts, make_story):
    rows = texts(section(compose.compose(make_facts(), make_story()), "Verdict"))
    assert [row[:2] for row in rows] == [
        ["mcc", "✓ holds"],
        ["cost", "✗ fails"],
        ["slice weather=rain", "reported only"],
    ]


def test_slices_without_their_images_are_told_without_intervals(make_facts, make_story):
    story = make_story()
    for evaluation in (story.before, story.after):
        del evaluation["samples"]["slices"]
    rows = texts(section(compose.compose(make_facts(), story), "By slice"))
    assert rows[0][:6] == ["size=far", "60", "19", "0.40", "0.50", "+0.10"]
    assert rows[3][3] == "not defined"


def test_the_rounds_so_far_are_a_curve(make_facts, make_story):
    found = section(compose.compose(make_facts(), make_story(2), [make_story(1)]), "Rounds so far")
    assert [row[:3] for row in texts(found)] == [["1", "40", "100"], ["2", "40", "140"]]
    axes = found.plots[0].draw().axes[0]
    assert axes.lines[0].get_xdata().tolist() == [60, 100, 140]


def test_failures_are_counted_and_listed(make_facts, make_story):
    found = section(compose.compose(make_facts(), make_story()), "What failed")
    assert found.text[0].startswith("2 failures on 2 images.")
    assert texts(found)[0] == ["predict", "", "ImageError", "2"]
    assert texts(found)[1][0] == "broken0.jpg"


def test_stages_are_timed(make_facts, make_story):
    found = section(compose.compose(make_facts(), make_story()), "Time by stage")
    assert ["train", "96 s"] in texts(found)
    assert found.text == ("3 min in all.",)


def test_an_evaluation_without_images_is_no_reason_to_fail(make_facts, make_story):
    story = make_story()
    for evaluation in (story.before, story.after):
        evaluation["samples"] = {"id": [], "drive": [], "truth": [], "p": []}
        evaluation["slices"] = {}
        evaluation |= {"n_images": 0, "n_positive": 0}
    page = compose.compose(make_facts(), story)
    assert texts(section(page, "Before and after"))[0][:2] == ["MCC", "not defined"]
    assert "No slice" in section(page, "By slice").text[0]


@pytest.mark.parametrize("missing", ["choose", "train", "publish", "label"])
def test_any_stage_may_be_missing(make_facts, make_story, missing):
    story = make_story()
    del story.record["stages"][missing]
    assert compose.compose(make_facts(), story).sections


def test_the_story_survives_json(make_facts, make_story):
    story = make_story()
    again = replace(
        story,
        record=json.loads(json.dumps(story.record)),
        before=json.loads(json.dumps(story.before)),
        after=json.loads(json.dumps(story.after)),
    )
    both = [compose.compose(make_facts(), one) for one in (story, again)]
    assert [texts(one) for one in both[0].sections] == [texts(one) for one in both[1].sections]


def test_each_path_of_the_cascade_has_its_share_and_its_cost(make_facts):
    facts = replace(
        make_facts(),
        ways={"stop": 75, "precision": 25},
        costs={
            "yolo": MemberCost("detection", 10.0, ("stop", "fast_a", "fast_b", "precision")),
            "sam": MemberCost("segmentation", 30.0, ("precision",)),
        },
        contradictions=2,
    )
    found = section(compose.compose(facts, NOTHING), "Paths through the cascade")
    assert [row[:4] for row in texts(found)] == [
        ["stop", "75", "75%", "10.0"],
        ["fast_a", "0", "0%", "10.0"],
        ["fast_b", "0", "0%", "10.0"],
        ["precision", "25", "25%", "40.0"],
    ]
    assert found.text[0] == "75% of 100 images stop after the detectors."
    assert "costs 17.5 ms on average; asking every member 40.0 ms" in found.text[1]
    assert "On 2 images a language model contradicts" in found.text[2]
