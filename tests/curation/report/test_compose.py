import json
from dataclasses import replace

import pytest

from curation.report import compose
from curation.report.facts import Facts, MemberCost, RoundRecord

NOTHING = RoundRecord(number=1, record={"round": 1, "stages": {}, "failures": []})


def section(page, title):
    return next(entry for entry in page.sections if entry.title == title)


def texts(section):
    return [[cell.text for cell in row] for table in section.tables for row in table.rows]


def test_complete_round_has_every_section(make_facts, make_round_record):
    page = compose.compose(make_facts(), make_round_record(2), [make_round_record(1)])
    assert [entry.title for entry in page.sections if entry.not_run] == []
    assert page.tone == "good"
    assert page.headline.startswith("40 images chosen and labeled. The challenger is promoted.")


def test_ranked_dataset_names_sections_that_were_not_run(make_facts):
    facts = replace(make_facts(labeled=False), labeled=0)
    page = compose.compose(facts, NOTHING)
    absent = {entry.title for entry in page.sections if entry.not_run}
    assert absent == {
        "Failures found by labeling",
        "Before and after",
        "By slice",
        "Verdict",
        "Rounds",
        "Training",
        "Time by stage",
    }
    assert page.headline == "40 images chosen. No challenger was judged."
    assert ["tiny_center", "612", "900", "1.47", "500"] in texts(section(page, "Predictions"))


def test_empty_dataset_has_page():
    page = compose.compose(Facts(dataset="void", samples=0, splits={}, labeled=0), NOTHING)
    assert page.headline == "Nothing was chosen. No challenger was judged."
    assert section(page, "Chosen batch").not_run
    assert section(page, "Failures").text == ("No failures.",)


def test_failure_yield_compares_hard_arm_with_random_arm(make_facts, make_round_record):
    part = section(compose.compose(make_facts(), make_round_record()), "Failures found by labeling")
    assert ["hard", "24", "15", "62%", "43% to 79%", "9", "14", "6"] in texts(part)
    assert ["random", "6", "1", "17%", "3% to 56%", "1", "1", "0"] in texts(part)
    assert any("hard arm fails on 62%" in line and "may be chance" in line for line in part.text)


def test_failure_yield_without_random_arm_makes_no_comparison(make_facts, make_round_record):
    round_record = make_round_record()
    summary = round_record.record["stages"]["label"]["summary"]
    del summary["failure_yield"]["random"]
    part = section(compose.compose(make_facts(), round_record), "Failures found by labeling")
    assert any("no random arm" in line for line in part.text)


def test_submissions_under_review_are_listed(make_facts, make_round_record):
    round_record = make_round_record()
    review = [{"sample": "id7", "what": "dragon", "reason": "No class is called so."}]
    round_record.record["stages"]["label"]["summary"]["review"] = review
    part = section(compose.compose(make_facts(), round_record), "Failures found by labeling")
    assert ["id7", "dragon", "No class is called so."] in texts(part)


def test_metrics_are_listed_overall_by_member_and_by_class(make_facts, make_round_record):
    rows = texts(section(compose.compose(make_facts(), make_round_record()), "Before and after"))
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


def test_missing_verdict_is_stated(make_facts, make_round_record):
    round_record = make_round_record()
    verdict = dict(round_record.verdict)
    verdict |= {"outcome": "no_verdict", "delta_mcc": None, "lower": None, "upper": None}
    verdict |= {"reasons": ["All 240 images have the answer yes."], "needed": "Take 300 images."}
    page = compose.compose(make_facts(), replace(round_record, verdict=verdict))
    assert "There is no verdict, so the champion stays." in page.headline
    assert "Take 300 images." in section(page, "Verdict").text


def test_every_check_of_verdict_is_listed(make_facts, make_round_record):
    rows = texts(section(compose.compose(make_facts(), make_round_record()), "Verdict"))
    assert [row[:2] for row in rows] == [
        ["mcc", "✓ holds"],
        ["cost", "✗ fails"],
        ["slice weather=rain", "reported only"],
    ]


def test_slices_without_recorded_images_have_no_intervals(make_facts, make_round_record):
    round_record = make_round_record()
    for evaluation in (round_record.before, round_record.after):
        del evaluation["samples"]["slices"]
    rows = texts(section(compose.compose(make_facts(), round_record), "By slice"))
    assert rows[0][:6] == ["size=far", "60", "19", "0.40", "0.50", "+0.10"]
    assert rows[3][3] == "not defined"


def test_rounds_become_learning_curve(make_facts, make_round_record):
    part = section(
        compose.compose(make_facts(), make_round_record(2), [make_round_record(1)]), "Rounds"
    )
    assert [row[:3] for row in texts(part)] == [["1", "40", "100"], ["2", "40", "140"]]
    axes = part.plots[0].draw().axes[0]
    assert axes.lines[0].get_xdata().tolist() == [60, 100, 140]


def test_failures_are_counted_and_listed(make_facts, make_round_record):
    part = section(compose.compose(make_facts(), make_round_record()), "Failures")
    assert part.text[0].startswith("2 failures on 2 images.")
    assert texts(part)[0] == ["predict", "", "ImageError", "2"]
    assert texts(part)[1][0] == "broken0.jpg"


def test_stage_durations_are_listed(make_facts, make_round_record):
    part = section(compose.compose(make_facts(), make_round_record()), "Time by stage")
    assert ["train", "96 s"] in texts(part)
    assert part.text == ("3 min in total.",)


def test_evaluation_without_images_has_undefined_metrics(make_facts, make_round_record):
    round_record = make_round_record()
    for evaluation in (round_record.before, round_record.after):
        evaluation["samples"] = {"id": [], "drive": [], "truth": [], "p": []}
        evaluation["slices"] = {}
        evaluation |= {"n_images": 0, "n_positive": 0}
    page = compose.compose(make_facts(), round_record)
    assert texts(section(page, "Before and after"))[0][:2] == ["MCC", "not defined"]
    assert "No slice" in section(page, "By slice").text[0]


@pytest.mark.parametrize("missing", ["choose", "train", "publish", "label"])
def test_missing_stage_is_accepted(make_facts, make_round_record, missing):
    round_record = make_round_record()
    del round_record.record["stages"][missing]
    assert compose.compose(make_facts(), round_record).sections


def test_page_is_unchanged_by_json_round_trip(make_facts, make_round_record):
    round_record = make_round_record()
    again = replace(
        round_record,
        record=json.loads(json.dumps(round_record.record)),
        before=json.loads(json.dumps(round_record.before)),
        after=json.loads(json.dumps(round_record.after)),
    )
    pages = [compose.compose(make_facts(), record) for record in (round_record, again)]
    first, second = ([texts(part) for part in page.sections] for page in pages)
    assert first == second


def test_paths_of_cascade_show_share_and_cost(make_facts):
    facts = replace(
        make_facts(),
        ways={"stop": 75, "precision": 25},
        costs={
            "yolo": MemberCost("detection", 10.0, ("stop", "fast_a", "fast_b", "precision")),
            "sam": MemberCost("segmentation", 30.0, ("precision",)),
        },
        contradictions=2,
    )
    part = section(compose.compose(facts, NOTHING), "Paths through the cascade")
    assert [row[:4] for row in texts(part)] == [
        ["stop", "75", "75%", "10.0"],
        ["fast_a", "0", "0%", "10.0"],
        ["fast_b", "0", "0%", "10.0"],
        ["precision", "25", "25%", "40.0"],
    ]
    assert part.text[0] == "75% of 100 images stop after the detectors."
    assert "costs 17.5 ms on average when routed, and 40.0 ms with every member" in part.text[1]
    assert "On 2 images a language model contradicts" in part.text[2]
