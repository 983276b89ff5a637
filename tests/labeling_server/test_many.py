"""Many tasks and many people: nothing too large, nothing lost, nothing twice, memory flat."""

import json
import threading
import time
import urllib.request
from urllib.parse import quote

import numpy as np

from cascade.predictions import Detections
from curation.labeling.label_studio.annotations.reader import Known
from curation.labeling.label_studio.api import tasks as stored_tasks
from curation.labeling.label_studio.backend import LabelStudio
from curation.labeling.label_studio.task_json import task_key, to_task
from curation.labeling.protocol import Task

ROUND = "round-01"
N = 2000
BY_HAND, IMPORTED = 60, 240  # annotations that others write meanwhile


def tasks_of(taxonomy, count):
    """Return tasks with three boxes each, whose images need no upload."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(1, count + 1):
        corners = np.sort(rng.random((3, 2, 2)), axis=1).reshape(3, 4)
        boxes = Detections(
            boxes_xyxy=corners.astype(np.float32), scores=np.full(3, 0.5, np.float32),
            class_ids=rng.integers(0, 7, 3), classes=taxonomy.names,
        )  # fmt: skip
        rows.append(
            Task(f"{i:024x}", f"https://images.invalid/{i}.jpg", 640, 480, 1, i, "hard", 0.5,
                 "the members disagree", boxes)
        )  # fmt: skip
    return rows


def labeler_of(tasks, connect, taxonomy, folder, name):
    sizes = {one.sample_id: Known(one.width, one.height, one.filepath) for one in tasks}
    return LabelStudio(
        connect, dataset=name, dataset_id=name, taxonomy=taxonomy, known=lambda _: sizes,
        folder=folder,
    )  # fmt: skip


def test_a_push_of_many_is_quick_and_adds_each_once(label_studio, connect, roadwork, tmp_path):
    """300 a second is the aim where nothing else runs; a third of it is a fault anywhere."""
    given = tasks_of(roadwork, N)
    ours = labeler_of(given, connect, roadwork, tmp_path, "many")
    began = time.monotonic()
    assert ours.push(given).pushed == N
    per_s = N / (time.monotonic() - began)
    print(f"{per_s:.0f} tasks a second")  # noqa: T201 - shown by `pytest -s`
    assert per_s > 100
    again = ours.push(given)
    assert (again.pushed, again.existing) == (0, N)
    with ours.project() as (client, project):
        pages = list(stored_tasks.pages(client, project))
    assert sorted(one["data"]["sample_id"] for page in pages for one in page) == [
        one.sample_id for one in given
    ]
    assert max(map(len, pages)) <= 500


def test_a_pull_while_others_write_loses_nothing_and_has_nothing_twice(
    label_studio, connect, roadwork, tmp_path
):
    given = tasks_of(roadwork, N + IMPORTED)
    ours = labeler_of(given, connect, roadwork, tmp_path, "crowd")
    ours.push(given[:1])
    foreign = [annotated_row(ours, one) for one in given[N:]]
    with ours.project() as (client, project):
        rows = [annotated_row(ours, one) for one in given[1:N]]
        for i in range(0, N, 500):
            stored_tasks.add(client, project, json.dumps(rows[i : i + 500]).encode())
        pages = list(stored_tasks.pages(client, project, include=("id", "annotations")))
    ids = [one["id"] for page in pages for one in page]
    seeded = {made["id"] for page in pages for one in page for made in one["annotations"]}
    assert len(seeded) == N - 1

    written: set[int] = set()
    writer = threading.Thread(target=write_on, args=(label_studio, project, ids, foreign, written))
    writer.start()
    seen: dict[int, str] = {}
    mark, while_writing = None, 0
    while writer.is_alive():
        before = seeded | written.copy()
        looked = ours.look(ROUND, since=mark)  # all, and then what came since
        seen |= looked.samples
        assert before <= seen.keys(), "what was there when it began was found"
        while_writing = len(seen.keys() - seeded)
        mark = looked.mark
        ours.remember(ROUND, looked)
    writer.join()
    assert len(written) == BY_HAND + IMPORTED
    assert while_writing > 0, "they wrote while we read"
    last = ours.look(ROUND, since=mark)
    ours.remember(ROUND, last)
    assert (seen | last.samples).keys() == seeded | written
    whole = ours.look(ROUND)
    assert whole.samples.keys() == seeded | written
    assert (whole.changes.new, whole.changes.changed, whole.changes.deleted) == ((), (), ())
    by_sample = [one.sample_id for one in whole.merged.annotated]
    assert len(by_sample) == len(set(by_sample))
    assert len(by_sample) - (given[0].sample_id in by_sample) == N - 1 + IMPORTED


def annotated_row(ours, task):
    """Return a task as an import has it where somebody labeled it before."""
    key = task_key(ours._dataset, 1, task.sample_id)
    row = to_task(
        task, key=key, image_url=task.filepath, model_version="m", taxonomy=ours._taxonomy
    )
    row["annotations"] = [{"result": row["predictions"][0]["result"], "lead_time": 3.0}]
    return row


def write_on(server, project, ids, foreign, written):
    """Annotate tasks picked at random, and import tasks that were labeled elsewhere."""
    picked = np.random.default_rng(1).choice(ids, BY_HAND).tolist()
    for i in range(BY_HAND):
        written.add(annotate(server, picked[i]))
        if chunk := foreign[4 * i : 4 * (i + 1)]:
            path = f"/api/projects/{project}/import?return_task_ids=true"
            made = server.ask("POST", path, chunk)["task_ids"]
            query = json.dumps({"selectedItems": {"all": False, "included": made}})
            path = f"/api/tasks/?project={project}&fields=all&query={quote(query)}"
            rows = server.ask("GET", path)["tasks"]
            written.update(one["id"] for row in rows for one in row["annotations"])


def annotate(server, task_id):
    body = json.dumps({"result": [], "lead_time": 1.0}).encode()
    request = urllib.request.Request(
        f"{server.url}/api/tasks/{task_id}/annotations/", data=body, method="POST",
        headers={"Authorization": f"Token {server.token}", "Content-Type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["id"]
