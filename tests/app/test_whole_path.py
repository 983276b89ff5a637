"""Complete path in the App: from new images to a labeled round."""

import re

import label_studio_server
import pytest

BUDGET = 3
BOX = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}


@pytest.fixture
def label_studio(tmp_path_factory):
    label_studio_server.require()
    return label_studio_server.shared(tmp_path_factory)


def annotate(server):
    """Draw a box on every task of the newest project; return the number of tasks."""
    project = server.ask("GET", "/api/projects/?page_size=100")["results"][0]["id"]
    tasks = server.ask("GET", f"/api/tasks/?project={project}&page_size=100&fields=all")["tasks"]
    row = {
        "id": "r", "type": "rectanglelabels", "from_name": "box", "to_name": "image",
        "value": BOX | {"rectanglelabels": ["cone"]},
    }  # fmt: skip
    for task in tasks:
        body = {"result": [row], "lead_time": 5.0}
        server.ask("POST", f"/api/tasks/{task['id']}/annotations/", body)
    return len(tasks)


def test_from_images_to_a_labeled_round(tab, scenes, serve, label_studio, until):
    url = serve(
        scenes.name,
        LABEL_STUDIO_URL=label_studio.url,
        LABEL_STUDIO_API_KEY=label_studio.personal_token(),
    )
    app = tab(url)
    app.page.set_default_timeout(90_000)
    app.open(scenes.name)

    def do(label, button, *, preview, result):
        """Run an operator from the list of operators; check its preview and its result."""
        app.run_operator(label)
        app.prompt.get_by_text(re.compile(preview)).first.wait_for()
        app.shot(f"path-{button.lower()}-form")
        app.prompt.get_by_role("button", name=button, exact=True).click()
        app.page.get_by_text(re.compile(result)).first.wait_for(timeout=240_000)
        app.shot(f"path-{button.lower()}-done")
        app.close_prompt()
        scenes.reload()

    do("Curation: predict", "Predict", preview=r"3 members . \d+ samples",
       result=r"Made \d+ predictions on \d+ samples")  # fmt: skip
    do("Curation: embed", "Embed", preview=r"1 member . \d+ samples", result=r"made \d+ vectors")
    do("Curation: score hardness", "Score", preview=r"samples", result=r"samples are ranked")
    assert scenes.count("hardness") > BUDGET

    total = app.count()
    app.panel("Curation: hardness")
    app.lasso("Map of hardness", right=0.6, bottom=0.9)
    until(lambda: 0 < app.count() < total, within_s=60)
    selected = app.count()
    app.tag_grid("look-again")
    until(lambda: len(scenes.match_tags("look-again")) == selected, within_s=60)
    app.shot("path-tagged")

    app.open(scenes.name)  # the next choice is from the whole dataset
    app.run_operator("Curation: choose samples")
    budget = app.prompt.get_by_role("spinbutton").first
    budget.wait_for()
    budget.fill(str(BUDGET))
    budget.press("Tab")
    app.prompt.get_by_role("button", name="Choose", exact=True).click()
    until(lambda: len(scenes.match_tags("round-01")) == BUDGET, within_s=120)
    app.page.get_by_text(re.compile(rf"{BUDGET} of \d+ samples are chosen")).first.wait_for()
    app.shot("path-choose-done")
    app.close_prompt()

    do("Curation: push to labeling", "Push", preview=r"min|hours",
       result=rf"Pushed {BUDGET} tasks of round 1")  # fmt: skip
    assert annotate(label_studio) == BUDGET
    do("Curation: pull labels", "Pull", preview="Only submitted labels",
       result=rf"{BUDGET} samples of round 1 got labels; 0 waiting")  # fmt: skip
    labeled = scenes.match({"labeled_round": 1})
    assert labeled.distinct("ground_truth.detections.label") == ["cone"]
    assert len(labeled) == BUDGET

    app.open(scenes.name)
    app.panel("Curation: round")
    app.page.get_by_text(re.compile(rf"{BUDGET} of {BUDGET}")).first.wait_for()
    app.shot("path-round")
    assert app.page.get_by_text("Traceback").count() == 0
