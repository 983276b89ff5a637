"""Operators in a browser: found, filled in, watched, queued."""

import re


def test_predict_shows_estimate_progress_and_result(app, scenes):
    """Find the operator, read the estimate, run it, see its progress and its result."""
    app.open(scenes.name)
    prompt = app.run_operator("Curation: predict")
    prompt.get_by_text(re.compile(r"3 members . \d+ samples")).wait_for(timeout=90_000)
    assert not scenes.has_field("tiny_center"), "nothing is written before the run"
    app.shot("predict-form")
    prompt.get_by_role("button", name="Predict").click()
    app.page.get_by_text(re.compile(r"(predict|fuse): \d+ of \d+")).first.wait_for(timeout=90_000)
    app.shot("predict-progress")
    app.page.get_by_text(re.compile(r"Made \d+ predictions on \d+ samples")).first.wait_for(
        timeout=180_000
    )
    app.shot("predict-result")
    scenes.reload()
    assert None not in scenes.values("consensus.detections")


def test_invalid_input_is_an_error_while_typing(app, scenes):
    app.open(scenes.name)
    prompt = app.run_operator("Curation: choose samples")
    field = prompt.get_by_role("spinbutton").first
    field.wait_for(timeout=90_000)
    field.fill("100000")
    prompt.get_by_text(
        re.compile("must be a whole number of at least 1 and at most")
    ).first.wait_for(timeout=30_000)
    app.shot("choose-refused")
    assert "Traceback" not in prompt.inner_text()


def test_queued_operator_is_run_by_our_worker(app, scenes, processes, until):
    from curation.worker import run_history

    app.open(scenes.name)
    prompt = app.run_operator("Curation: embed")
    prompt.get_by_text(re.compile(r"1 member . \d+ samples")).wait_for(timeout=90_000)
    prompt.get_by_role("button", name="Select execution option").or_(
        prompt.locator("[aria-haspopup=menu]")
    ).first.click()
    schedule = app.page.get_by_role("menuitem").filter(has_text="Schedule")
    schedule.wait_for(timeout=30_000)
    app.shot("embed-options")
    schedule.click()
    prompt.get_by_role("button", name="Schedule").click()
    (run,) = until(lambda: run_history.list_runs(scenes.name), within_s=30)
    assert run.state == "queued"
    assert processes.start("curate", "worker", "--once").wait(240) == 0
    assert run_history.get_run(run.id).state == "done"
    scenes.reload()
    assert scenes.has_brain_run("similarity")
