"""Boxes there and back, and what others see of them: the server's own export, and a browser."""

import io
import json
import os
import shutil
import urllib.parse
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade import taxonomy as taxonomies
from cascade.predictions import Detections
from curation.labeling.label_studio.annotations.reader import Known
from curation.labeling.label_studio.backend import LabelStudio
from curation.labeling.protocol import Task

ROUND = "round-01"
SHARED = os.environ.get("CURATION_SHARED")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
UNICODE = """
name: words
decision: {name: here, question: "Ist etwas da?"}
classes:
  - {name: "Kegel ä", decides: true}
  - {name: "円錐 & <b>"}
  - {name: "конус \\"q\\""}
"""
TRANSPOSED = (5, 6, 7, 8)


def labeler_of(tasks, connect, taxonomy, folder, name):
    sizes = {one.sample_id: Known(one.width, one.height, one.filepath) for one in tasks}
    return LabelStudio(
        connect, dataset=name, dataset_id=name, taxonomy=taxonomy, known=lambda _: sizes,
        folder=folder,
    )  # fmt: skip


def task_of(i, path, size_wh, boxes):
    return Task(
        sample_id=f"id{i}", filepath=str(path), width=size_wh[0], height=size_wh[1], round=1,
        rank=i, arm="hard", hardness=0.5, because="", predictions=boxes,
    )  # fmt: skip


def rows_of(server, ours):
    with ours.project() as (_, project):
        path = f"/api/tasks/?project={project}&page_size=1000&fields=all"
        return project, server.ask("GET", path)["tasks"]


def test_any_box_any_size_every_orientation_and_what_the_server_exports(
    label_studio, connect, tmp_path
):
    words = taxonomies.parse(UNICODE)
    rng = np.random.default_rng(4)
    folder = label_studio.files / "orientations"
    folder.mkdir()
    tasks = []
    for i in range(1, 17):
        orientation = (i - 1) % 8 + 1
        stored = tuple(int(side) for side in rng.integers(20, 3000, 2))
        upright = stored[::-1] if orientation in TRANSPOSED else stored
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = folder / f"{i}.jpg"
        Image.new("RGB", stored, (90, 90, 90)).save(path, exif=exif, quality=10)
        n = int(rng.integers(1, 7))
        corners = np.sort(rng.random((n, 2, 2)), axis=1).reshape(n, 4)
        corners[0] = (0, 0, 1, 1)
        boxes = Detections(
            boxes_xyxy=corners.astype(np.float32), scores=rng.random(n, np.float32),
            class_ids=rng.integers(0, 3, n), classes=words.names,
        )  # fmt: skip
        tasks.append(task_of(i, path, upright, boxes))
    ours = labeler_of(tasks, connect, words, tmp_path / "notes", "orientations")
    ours.push(tasks)
    project, rows = rows_of(label_studio, ours)
    for row in rows:  # a person who accepts what was shown
        result = row["predictions"][0]["result"]
        label_studio.ask("POST", f"/api/tasks/{row['id']}/annotations/", {"result": result})
    found = {one.sample_id: one.boxes for one in ours.pull(ROUND)}
    assert len(found) == len(tasks)
    for task in tasks:
        assert found[task.sample_id].labels == task.predictions.labels
        np.testing.assert_allclose(
            found[task.sample_id].boxes_xyxy, task.predictions.boxes_xyxy, atol=1e-4
        )

    coco = exported_coco(label_studio, project)
    names = {one["id"]: one["name"] for one in coco["categories"]}
    assert set(words.names) <= set(names.values())  # answers are categories to it, too
    images = {one["id"]: one for one in coco["images"]}
    theirs: dict[str, list] = {}
    for one in coco["annotations"]:
        file = Path(urllib.parse.unquote(images[one["image_id"]]["file_name"])).stem
        theirs.setdefault(f"id{file}", []).append((names[one["category_id"]], one["bbox"]))
    for task in tasks:
        image = next(
            one for one in images.values()
            if Path(urllib.parse.unquote(one["file_name"])).stem == task.sample_id[2:]
        )  # fmt: skip
        # The image's size it reads from the stored file, without its EXIF; the boxes are upright.
        assert {image["width"], image["height"]} == {task.width, task.height}
        pixels = task.predictions.boxes_xyxy * ([task.width, task.height] * 2)
        expected = np.hstack([pixels[:, :2], pixels[:, 2:] - pixels[:, :2]])
        seen = theirs[task.sample_id]
        assert [label for label, _ in seen] == task.predictions.labels
        tolerance = 1e-4 * max(task.width, task.height)
        np.testing.assert_allclose([box for _, box in seen], expected, atol=tolerance)


def exported_coco(server, project):
    content = server.ask("GET", f"/api/projects/{project}/export?exportType=COCO")
    if isinstance(content, dict):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return json.loads(archive.read("result.json"))


@pytest.mark.slow
@pytest.mark.skipif(SHARED is None, reason="CURATION_SHARED does not name the real photographs")
def test_a_hundred_real_photographs_two_of_them_corrected(
    label_studio, connect, tmp_path, roadwork
):
    """Seen in a browser, too: every outline lies where its box is."""
    tasks = real_tasks(label_studio.files / "cones", 100, roadwork)
    ours = labeler_of(tasks, connect, roadwork, tmp_path / "notes", "cones")
    assert ours.push(tasks).pushed == 100
    _, rows = rows_of(label_studio, ours)
    corrected = {}
    for row, task in zip(rows[:2], tasks, strict=False):
        result = row["predictions"][0]["result"]
        result[0]["value"] |= {"x": 12.5, "y": 25.0, "width": 20.0, "height": 30.0}
        label_studio.ask("POST", f"/api/tasks/{row['id']}/annotations/", {"result": result})
        boxes = task.predictions.boxes_xyxy.copy()
        boxes[0] = (0.125, 0.25, 0.325, 0.55)
        corrected[task.sample_id] = boxes
    found = {one.sample_id: one for one in ours.pull(ROUND)}
    assert found.keys() == corrected.keys(), "the rest is untouched"
    for sample_id, boxes in corrected.items():
        np.testing.assert_allclose(found[sample_id].boxes.boxes_xyxy, boxes, atol=1e-4)
    if CHROMIUM is None:
        pytest.skip("There is no chromium here: the rest was checked, the browser was not.")
    shown = next(i for i, one in enumerate(tasks) if len(one.predictions) >= 3)
    check_in_browser(label_studio, ours, rows[shown], tasks[shown], picture_of(tmp_path))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="There is no chromium here.")
@pytest.mark.parametrize("orientation", [6])
def test_the_browser_shows_boxes_on_a_turned_photograph(
    label_studio, connect, tmp_path, roadwork, orientation
):
    """What was stored lying is shown upright, and so are its boxes."""
    upright = np.full((400, 600, 3), 60, np.uint8)
    upright[40:120, 300:420] = (90, 90, 90)
    turned = np.rot90(upright, {3: 2, 6: 1}[orientation])
    exif, path = Image.Exif(), label_studio.files / f"turned{orientation}" / "photo.jpg"
    exif[0x0112] = orientation
    path.parent.mkdir()
    Image.fromarray(np.ascontiguousarray(turned)).save(path, exif=exif, quality=95)
    boxes = Detections(
        boxes_xyxy=np.array([[0.5, 0.1, 0.7, 0.3], [0.1, 0.5, 0.2, 0.9]], np.float32),
        scores=np.ones(2, np.float32), class_ids=np.array([0, 1]), classes=roadwork.names,
    )  # fmt: skip
    tasks = [task_of(1, path, (600, 400), boxes)]
    ours = labeler_of(tasks, connect, roadwork, tmp_path / "notes", f"turned {orientation}")
    ours.push(tasks)
    _, rows = rows_of(label_studio, ours)
    check_in_browser(label_studio, ours, rows[0], tasks[0], picture_of(tmp_path))


def real_tasks(folder, count, taxonomy):
    """Return tasks of photographs of cones, whose own labels are the pre-annotations."""
    source = Path(SHARED) / "data" / "roboflow_traffic_cones"
    folder.mkdir()
    tasks = []
    for path in sorted((source / "images" / "train").iterdir()):
        lines = (source / "labels" / "train" / f"{path.stem}.txt").read_text().split("\n")
        rows = np.array([line.split() for line in lines if line], float).reshape(-1, 5)
        rows = rows[np.isin(rows[:, 0], (0, 3, 6))][:, 1:]
        if not len(rows):
            continue
        copy = folder / f"{len(tasks)}.jpg"
        shutil.copy(path, copy)
        with Image.open(copy) as image:
            size = image.size
        corners = np.hstack([rows[:, :2] - rows[:, 2:] / 2, rows[:, :2] + rows[:, 2:] / 2])
        boxes = Detections(
            boxes_xyxy=corners.clip(0, 1).astype(np.float32),
            scores=np.full(len(rows), 0.8, np.float32),
            class_ids=np.full(len(rows), taxonomy.names.index("cone")), classes=taxonomy.names,
        )  # fmt: skip
        tasks.append(task_of(len(tasks) + 1, copy, size, boxes))
        if len(tasks) == count:
            break
    return tasks


def picture_of(tmp_path):
    """Return where a screenshot goes: kept where CURATION_PICTURES names a folder."""
    folder = Path(os.environ.get("CURATION_PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"label_studio_{tmp_path.name}.png"


def check_in_browser(server, ours, row, task, picture):
    """Open a task as a person does, and look for the colour of each box along its outline."""
    from playwright.sync_api import sync_playwright

    from curation.labeling.label_studio import label_config
    from curation.labeling.label_studio.api import projects

    with ours.project() as (client, project):
        colours = label_config.colours(ours._taxonomy)
        title = projects.read(client, project).title
    assert title
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.goto(f"{server.url}/user/login/", wait_until="domcontentloaded")
        page.fill("input[name=email]", "admin@example.com")
        page.fill("input[name=password]", "only-for-tests-1")
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "login" not in url, timeout=60_000, wait_until="commit")
        address = f"{server.url}/projects/{project}/data?task={row['id']}"
        page.goto(address, wait_until="commit")
        page.wait_for_selector(".konvajs-content canvas", timeout=90_000)
        page.wait_for_timeout(3_000)
        page.screenshot(path=str(picture))
        shown = page.evaluate(
            "[...document.querySelectorAll('img')].map(i => [i.naturalWidth, i.naturalHeight, "
            "...(({x, y, width, height}) => [x, y, width, height])(i.getBoundingClientRect())])"
        )
        browser.close()
    upright = [tuple(one[2:]) for one in shown if one[:2] == [task.width, task.height]]
    frame = max(upright, key=lambda one: one[2])
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    for corners, label in zip(task.predictions.boxes_xyxy, task.predictions.labels, strict=True):
        share = outlined(pixels, frame, corners, colours[label])
        assert share > 0.8, (label, corners, share, picture)


def outlined(pixels, frame, corners, colour):
    """Return the share of a box's outline that has its colour within two pixels of it."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    left, top, width, height = frame
    x1, y1, x2, y2 = corners * [width, height, width, height]
    along = np.linspace(0.1, 0.9, 30)
    places = [
        *((x1 + t * (x2 - x1), y) for t in along for y in (y1, y2)),
        *((x, y1 + t * (y2 - y1)) for t in along for x in (x1, x2)),
    ]
    hits = 0
    for x, y in places:
        column, line = round(left + x), round(top + y)
        near = pixels[max(line - 2, 0) : line + 3, max(column - 2, 0) : column + 3]
        hits += (np.abs(near - wanted).max(axis=2) < 60).any()
    return hits / len(places)
