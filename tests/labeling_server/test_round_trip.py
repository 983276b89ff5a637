"""Round trips of boxes, compared with the server's export and a browser."""

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

from cascade.predictions import Detections
from cascade.taxonomy import parse
from curation.labeling.label_studio.annotations.reader import SampleImage
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
    samples = {t.sample_id: SampleImage(t.width, t.height, t.filepath) for t in tasks}
    return LabelStudio(
        connect, dataset=name, dataset_id=name, taxonomy=taxonomy, read_samples=lambda _: samples,
        folder=folder,
    )  # fmt: skip


def task_of(i, path, size_wh, boxes):
    return Task(
        sample_id=f"id{i}", filepath=str(path), width=size_wh[0], height=size_wh[1], round=1,
        rank=i, arm="hard", hardness=0.5, because="", predictions=boxes,
    )  # fmt: skip


def rows_of(server, ours):
    with ours.open_project() as (_, project):
        path = f"/api/tasks/?project={project}&page_size=1000&fields=all"
        return project, server.ask("GET", path)["tasks"]


def test_boxes_of_any_size_and_orientation_match_export(label_studio, connect, tmp_path):
    words = parse(UNICODE)
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
    for row in rows:  # an annotator who accepts the predictions
        result = row["predictions"][0]["result"]
        label_studio.ask("POST", f"/api/tasks/{row['id']}/annotations/", {"result": result})
    pulled = {row.sample_id: row.boxes for row in ours.pull(ROUND)}
    assert len(pulled) == len(tasks)
    for task in tasks:
        assert pulled[task.sample_id].labels == task.predictions.labels
        np.testing.assert_allclose(
            pulled[task.sample_id].boxes_xyxy, task.predictions.boxes_xyxy, atol=1e-4
        )

    coco = exported_coco(label_studio, project)
    names = {row["id"]: row["name"] for row in coco["categories"]}
    assert set(words.names) <= set(names.values())  # answers are exported as categories, too
    images = {row["id"]: row for row in coco["images"]}
    exported: dict[str, list] = {}
    for row in coco["annotations"]:
        file = Path(urllib.parse.unquote(images[row["image_id"]]["file_name"])).stem
        exported.setdefault(f"id{file}", []).append((names[row["category_id"]], row["bbox"]))
    for task in tasks:
        image = next(
            row for row in images.values()
            if Path(urllib.parse.unquote(row["file_name"])).stem == task.sample_id[2:]
        )  # fmt: skip
        # The export has the size of the stored file, without its EXIF; the boxes are upright.
        assert {image["width"], image["height"]} == {task.width, task.height}
        pixels = task.predictions.boxes_xyxy * ([task.width, task.height] * 2)
        expected = np.hstack([pixels[:, :2], pixels[:, 2:] - pixels[:, :2]])
        boxes = exported[task.sample_id]
        assert [label for label, _ in boxes] == task.predictions.labels
        tolerance = 1e-4 * max(task.width, task.height)
        np.testing.assert_allclose([box for _, box in boxes], expected, atol=tolerance)


def exported_coco(server, project):
    content = server.ask("GET", f"/api/projects/{project}/export?exportType=COCO")
    if isinstance(content, dict):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return json.loads(archive.read("result.json"))


@pytest.mark.slow
@pytest.mark.skipif(SHARED is None, reason="CURATION_SHARED does not name the real photographs")
def test_hundred_photographs_with_two_corrections(label_studio, connect, tmp_path, roadwork):
    """Also verified in a browser: every outline is at its box."""
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
    pulled = {row.sample_id: row for row in ours.pull(ROUND)}
    assert pulled.keys() == corrected.keys(), "other tasks are unchanged"
    for sample_id, boxes in corrected.items():
        np.testing.assert_allclose(pulled[sample_id].boxes.boxes_xyxy, boxes, atol=1e-4)
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: only the browser was not checked.")
    shown = next(i for i, task in enumerate(tasks) if len(task.predictions) >= 3)
    check_in_browser(label_studio, ours, rows[shown], tasks[shown], picture_of(tmp_path))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed.")
@pytest.mark.parametrize("orientation", [6])
def test_browser_shows_boxes_on_rotated_photograph(
    label_studio, connect, tmp_path, roadwork, orientation
):
    """A rotated image and its boxes are shown upright."""
    upright = np.full((400, 600, 3), 60, np.uint8)
    upright[40:120, 300:420] = (90, 90, 90)
    rotated = np.rot90(upright, {3: 2, 6: 1}[orientation])
    exif, path = Image.Exif(), label_studio.files / f"turned{orientation}" / "photo.jpg"
    exif[0x0112] = orientation
    path.parent.mkdir()
    Image.fromarray(np.ascontiguousarray(rotated)).save(path, exif=exif, quality=95)
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
    """Return tasks of photographs of cones, with their labels as pre-annotations."""
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
    """Return the path of a screenshot, in the folder CURATION_PICTURES if set."""
    folder = Path(os.environ.get("CURATION_PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"label_studio_{tmp_path.name}.png"


def check_in_browser(server, ours, row, task, picture):
    """Open a task in a browser, and find the color of each box along its outline."""
    from playwright.sync_api import sync_playwright

    from curation.labeling.label_studio import label_config
    from curation.labeling.label_studio.api import projects

    with ours.open_project() as (client, project):
        colors = label_config.class_colors(ours._taxonomy)
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
    upright = [tuple(row[2:]) for row in shown if row[:2] == [task.width, task.height]]
    frame = max(upright, key=lambda row: row[2])
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    for corners, label in zip(task.predictions.boxes_xyxy, task.predictions.labels, strict=True):
        share = outlined(pixels, frame, corners, colors[label])
        assert share > 0.8, (label, corners, share, picture)


def outlined(pixels, frame, corners, color):
    """Return the share of a box's outline with its color within two pixels."""
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    left, top, width, height = frame
    x1, y1, x2, y2 = corners * [width, height, width, height]
    along = np.linspace(0.1, 0.9, 30)
    points = [
        *((x1 + t * (x2 - x1), y) for t in along for y in (y1, y2)),
        *((x, y1 + t * (y2 - y1)) for t in along for x in (x1, x2)),
    ]
    hits = 0
    for x, y in points:
        column, line = round(left + x), round(top + y)
        near = pixels[max(line - 2, 0) : line + 3, max(column - 2, 0) : column + 3]
        hits += (np.abs(near - wanted).max(axis=2) < 60).any()
    return hits / len(points)
