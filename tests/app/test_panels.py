"""Panels in a real App: a click shows the clicked samples in the grid.

Screenshots are saved for inspection.
"""

import re
import time

import fiftyone as fo
import numpy as np
import panel_dataset
import pytest
from PIL import Image

from curation.presentation import error_analysis, refresh


@pytest.fixture(scope="module")
def pool(database, tmp_path_factory):
    """160 synthetic samples with a complete round and readable images."""
    dataset = fo.Dataset("panels", persistent=True)
    folder = tmp_path_factory.mktemp("pool")
    panel_dataset.fill(dataset, 160, labeled=0.5, folder=str(folder))
    noise = np.random.default_rng(0).integers(40, 200, (160, 9, 16, 3), np.uint8)
    for path, pixels in zip(dataset.values("filepath"), noise, strict=True):
        Image.fromarray(pixels).resize((480, 270)).save(path)
    panel_dataset.place(dataset)
    panel_dataset.choose(dataset, 1, 40)
    error_analysis.compare(dataset)
    refresh.after_stage(dataset)
    yield dataset
    dataset.delete()


@pytest.fixture
def mine(pool, request):
    """A copy per test: the App stores open panels and the view by dataset name."""
    copy = pool.clone(re.sub(r"[^\w]+", "-", request.node.name).strip("-"), persistent=True)
    yield copy
    copy.delete()


@pytest.fixture(scope="module")
def settled(app_url):
    """Wait until the Python session of the App is connected.

    It tries every ten seconds, and then opens its own dataset in every tab.
    """
    time.sleep(12)


@pytest.fixture
def opened(app, mine, settled):
    """The App with the copy."""
    app.open(mine.name)
    app.page.set_default_timeout(60_000)
    return app


def test_bar_of_cascade_narrows_the_grid(opened, mine):
    opened.panel("Curation: cascade")
    plot = opened.plot("Tiers")
    opened.shot("panel-cascade")
    bar = plot.locator(".bars .point").last.bounding_box()  # language, stopped here
    last = [row[-1] for row in mine.values("tiers_reached")].count("language")
    opened.click_until_narrowed(bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2, last)
    opened.shot("panel-cascade-clicked")


def test_column_of_hardness_narrows_the_grid(opened, mine):
    opened.panel("Curation: hardness")
    plot = opened.plot("Distribution")
    opened.shot("panel-hardness")
    column = plot.locator(".bars .point").nth(3).bounding_box()
    inside = sum(0.15 <= value < 0.2 for value in mine.values("hardness"))
    opened.click_until_narrowed(
        column["x"] + column["width"] / 2, column["y"] + column["height"] - 2, inside
    )


def test_lasso_selects_samples_to_tag(opened, mine, until):
    opened.panel("Curation: hardness")
    opened.lasso("Map of hardness", right=0.5, bottom=0.9)
    until(lambda: 0 < opened.count() < 160, within_s=60)
    selected = opened.count()
    opened.shot("panel-hardness-lasso")
    opened.tag_grid("look-again")
    until(lambda: len(mine.match_tags("look-again")) == selected, within_s=60)
    mine.untag_samples("look-again")


def test_cell_of_failures_narrows_the_grid(opened, mine):
    opened.panel("Curation: failures")
    plot = opened.plot("Slices and members")
    opened.shot("panel-failures")
    area = plot.locator(".nsewdrag").first.bounding_box()
    compared = {member for row in mine.values("compared") if row for member in row}
    first = min(compared - {"consensus"})
    wrong = {"$or": [{"missed_by": first}, {"false_by": first}], "compared": first}
    # the topmost row is all images, the leftmost column the first member
    opened.click_until_narrowed(area["x"] + 20, area["y"] + 12, mine.match(wrong).count())


@pytest.mark.parametrize("label", ["round", "drift", "registry", "runs"])
def test_other_panels_have_content(opened, label):
    opened.panel(f"Curation: {label}")
    assert opened.page.get_by_text("Traceback").count() == 0
    opened.shot(f"panel-{label}")


def test_members_are_compared_next_to_an_open_sample(opened):
    page = opened.page
    page.locator("[data-cy=looker]").first.click()
    page.get_by_text("Curation: members", exact=True).first.click()  # a tab next to the sample
    page.wait_for_selector("img[alt*='members on one sample']")
    assert page.get_by_text(re.compile(r"(no detection|✓)")).count()
    opened.shot("panel-members")
