"""Label Studio labeler against a real server: tasks and answers exactly once."""

import json

import numpy as np
import pytest

from curation.errors import LabelingError
from curation.labeling.label_studio.api import projects

ROUND = "round-01"


def region(label, x1, y1, x2, y2, task):
    return {
        "id": f"{label}{x1}", "type": "rectanglelabels", "from_name": "box", "to_name": "image",
        "original_width": task.width, "original_height": task.height, "image_rotation": 0,
        "value": {
            "x": 100 * x1, "y": 100 * y1, "width": 100 * (x2 - x1), "height": 100 * (y2 - y1),
            "rotation": 0, "rectanglelabels": [label],
        },
    }  # fmt: skip


def tasks_of(server, labeler, fields="all"):
    """Return the tasks of the labeler's project on the server."""
    with labeler.open_project() as (_, project):
        answer = server.ask("GET", f"/api/tasks/?project={project}&page_size=1000&fields={fields}")
    return answer["tasks"]


def submit(server, task, result, **more):
    return server.ask("POST", f"/api/tasks/{task['id']}/annotations/", {"result": result, **more})


@pytest.mark.parametrize("kind", ["legacy", "personal"])
def test_both_kinds_of_token_work(label_studio, connect, kind):
    token = label_studio.token if kind == "legacy" else label_studio.personal_token()
    with connect(token=token) as client:
        assert "admin@example.com" in client.user_names().values()


def test_push_creates_tasks_with_predictions(label_studio, labeler, make_task, detections):
    boxes = detections(("cone", 0.1, 0.2, 0.3, 0.6), ("worker", 0.5, 0.5, 0.75, 1.0))
    tasks = [make_task(i, boxes=boxes) for i in (1, 2, 3)]
    ours = labeler(tasks)
    pushed = ours.push(tasks)
    assert (pushed.pushed, pushed.existing) == (3, 0)
    assert pushed.location.startswith(f"{label_studio.url}/projects/")
    assert pushed.location in ours.instructions
    rows = tasks_of(label_studio, ours)
    assert [row["data"]["sample_id"] for row in rows] == ["id1", "id2", "id3"]
    assert [row["data"]["rank"] for row in rows] == [1, 2, 3]
    assert rows[0]["data"]["reason"] == "the members disagree"
    prediction = rows[0]["predictions"][0]
    assert prediction["model_version"] == "consensus"
    assert prediction["score"] == pytest.approx(0.5)
    assert [region["value"]["rectanglelabels"] for region in prediction["result"]] == [
        ["cone"], ["worker"],
    ]  # fmt: skip


def test_push_is_idempotent_and_adds_new_tasks(label_studio, labeler, make_task):
    tasks = [make_task(i) for i in range(1, 6)]
    ours = labeler(tasks)
    ours.push(tasks[:3])
    before = tasks_of(label_studio, ours)
    assert ours.push(tasks[:3]).pushed == 0
    assert tasks_of(label_studio, ours) == before
    again = ours.push(tasks)
    assert (again.pushed, again.existing) == (2, 3)
    assert len(tasks_of(label_studio, ours)) == 5


def test_only_submissions_are_pulled(label_studio, labeler, make_task, detections):
    boxes = detections(("cone", 0.1, 0.2, 0.3, 0.6))
    tasks = [make_task(i, boxes=boxes) for i in range(1, 6)]
    ours = labeler(tasks)
    ours.push(tasks)
    rows = tasks_of(label_studio, ours)
    submit(label_studio, rows[0], [region("barrel", 0.25, 0.5, 0.5, 0.75, tasks[0])], lead_time=7.5)
    submit(label_studio, rows[1], [])
    submit(label_studio, rows[2], [], was_cancelled=True)
    submit(label_studio, rows[3], [region("unicorn", 0.1, 0.1, 0.2, 0.2, tasks[3])])
    annotations = {row.sample_id: row for row in ours.pull(ROUND)}
    assert set(annotations) == {"id1", "id2", "id4"}
    assert annotations["id1"].boxes.labels == ["drum"], "a synonym means its class"
    np.testing.assert_allclose(
        annotations["id1"].boxes.boxes_xyxy, [[0.25, 0.5, 0.5, 0.75]], atol=1e-6
    )
    assert annotations["id1"].seconds == 7.5
    assert annotations["id1"].annotator == "admin@example.com"
    assert annotations["id2"].complete
    assert len(annotations["id2"].boxes) == 0
    assert not annotations["id4"].complete
    assert "unicorn" in annotations["id4"].doubts[0].subject
    status = ours.status(ROUND)
    assert (status.tasks, status.submitted, status.doubtful, status.waiting) == (5, 3, 1, 2)
    assert ours.fetch(ROUND).merged.skipped == ("id3",)


def test_changed_and_deleted_annotations_are_detected(label_studio, labeler, make_task):
    tasks = [make_task(i) for i in (1, 2, 3)]
    ours = labeler(tasks)
    ours.push(tasks)
    rows = tasks_of(label_studio, ours)
    made = [
        submit(label_studio, row, [region("cone", 0.1, 0.1, 0.5, 0.5, task)])["id"]
        for row, task in zip(rows, tasks, strict=True)
    ]
    first = ours.fetch(ROUND)
    assert first.changes.new == tuple(made)
    ours.end_import(ROUND, first)
    changed = [region("barrel", 0.1, 0.1, 0.5, 0.5, tasks[0])]
    label_studio.ask("PATCH", f"/api/annotations/{made[0]}/", {"result": changed})
    label_studio.ask("DELETE", f"/api/annotations/{made[1]}/")
    for since in (first.mark, None):
        second = ours.fetch(ROUND, since=since)
        assert (second.changes.new, second.changes.changed) == ((), (made[0],))
        assert second.changes.deleted == (made[1],)
    assert ours.imported_samples(ROUND)[made[1]] == "id2"
    ours.end_import(ROUND, second)
    third = ours.fetch(ROUND)
    assert (third.changes.new, third.changes.changed, third.changes.deleted) == ((), (), ())


def test_rounds_are_separate(label_studio, labeler, make_task):
    first, second = make_task(1), make_task(1, round_number=2)
    ours = labeler([first])
    ours.push([first])
    assert ours.push([second]).pushed == 1
    rows = tasks_of(label_studio, ours)
    assert [row["data"]["round"] for row in rows] == [1, 2]
    submit(label_studio, rows[1], [])
    assert ours.pull(ROUND) == []
    assert len(ours.pull("round-02")) == 1


def test_overlap_waits_for_second_annotator(label_studio, labeler, make_task):
    tasks = [make_task(1)]
    ours = labeler(tasks, overlap=2)
    ours.push(tasks)
    (row,) = tasks_of(label_studio, ours)
    submit(label_studio, row, [region("cone", 0.1, 0.1, 0.5, 0.5, tasks[0])], lead_time=2)
    assert ours.pull(ROUND) == []
    assert ours.fetch(ROUND).merged.partial == ("id1",)
    email = f"second-{row['id']}@example.com"
    other = label_studio.ask(
        "POST", "/api/users/", {"email": email, "username": email, "password": "only-for-tests-1"}
    )
    theirs = [region("cone", 0.12, 0.1, 0.5, 0.5, tasks[0])]
    submit(label_studio, row, theirs, lead_time=3, completed_by=other["id"])
    seen = ours.fetch(ROUND)
    assert seen.merged.agreement == {"id1": 1.0}
    (row,) = seen.merged.annotations
    assert row.annotator.startswith("admin@example.com, ")
    assert row.seconds == 5
    np.testing.assert_allclose(row.boxes.boxes_xyxy, [[0.11, 0.1, 0.5, 0.5]], atol=1e-6)


def test_pull_before_push_is_rejected(labeler, make_task):
    with pytest.raises(LabelingError, match=r"has no project for .* Push its tasks"):
        labeler([make_task(1)]).pull(ROUND)


def test_foreign_tasks_are_named(label_studio, labeler, make_task):
    tasks = [make_task(1)]
    ours = labeler(tasks)
    ours.push(tasks)
    with ours.open_project() as (_, project):
        foreign = [{"data": {"image": "/elsewhere.png"}, "annotations": [{"result": []}]}]
        path = f"/api/projects/{project}/import?return_task_ids=true"
        (task,) = label_studio.ask("POST", path, foreign)["task_ids"]
    assert ours.status(ROUND).strangers == (f"task {task}",)
    assert ours.pull(ROUND) == []


def test_every_version_is_stored(label_studio, labeler, make_task, tmp_path):
    tasks = [make_task(1)]
    ours = labeler(tasks)
    ours.push(tasks)
    (row,) = tasks_of(label_studio, ours)
    comment = {"type": "textarea", "from_name": "comment", "to_name": "image",
               "value": {"text": ["blurred"]}}  # fmt: skip
    drawn = region("cone", 0.1, 0.1, 0.5, 0.5, tasks[0])
    submit(label_studio, row, [drawn, comment], lead_time=4)
    ours.pull(ROUND)
    (stored,) = map(json.loads, (tmp_path / "notes" / "round-01.jsonl").read_text().splitlines())
    assert (stored["sample_id"], stored["agreement"], stored["seconds"]) == ("id1", 1.0, 4)
    assert stored["comments"] == {"admin@example.com": "blurred"}
    assert stored["versions"][0]["labels"] == ["cone"]


def test_withdraw_keeps_tasks_with_work(label_studio, labeler, make_task):
    tasks = [make_task(i) for i in (1, 2, 3)]
    ours = labeler(tasks)
    ours.push(tasks)
    rows = tasks_of(label_studio, ours)
    submit(label_studio, rows[1], [])
    for deleted in (2, 0):
        assert f"{deleted} tasks were deleted" in ours.withdraw(ROUND)
    assert [task["id"] for task in tasks_of(label_studio, ours)] == [rows[1]["id"]]


def test_datasets_with_equal_names_have_separate_projects(labeler, make_task):
    tasks = [make_task(i) for i in range(1, 4)]
    ours = labeler(tasks, name="drive", dataset_id="ours")
    theirs = labeler(tasks, name="drive", dataset_id="theirs")
    ours.push(tasks)
    assert theirs.push(tasks).pushed == 3
    with ours.open_project() as (_, first), theirs.open_project() as (_, second):
        assert first != second
    assert ours.withdraw("round-01").startswith("3 tasks")
    assert theirs.status("round-01").tasks == 3


def test_data_manager_sorts_by_rank_as_number(label_studio, labeler, make_task):
    tasks = [make_task(i) for i in range(1, 13)]
    ours = labeler(tasks)
    ours.push(tasks[::-1])
    with ours.open_project() as (_, project):
        views = label_studio.ask("GET", f"/api/dm/views/?project={project}")
    (view,) = [row["id"] for row in views if row["data"]["title"] == "By rank"]
    rows = label_studio.ask("GET", f"/api/tasks/?view={view}&page_size=20")["tasks"]
    assert [row["data"]["rank"] for row in rows] == list(range(1, 13))


class TestTaxonomy:
    def test_edited_config_is_rejected_in_one_line(self, label_studio, labeler, make_task):
        tasks = [make_task(i) for i in (1, 2)]
        ours = labeler(tasks)
        ours.push(tasks[:1])
        with ours.open_project() as (client, project):
            xml = projects.read(client, project).label_config
        edited = xml.replace('name="box"', 'name="mine"')
        assert edited != xml
        label_studio.ask("PATCH", f"/api/projects/{project}/", {"label_config": edited})
        for act in (lambda: ours.push(tasks), lambda: ours.pull(ROUND)):
            with pytest.raises(LabelingError, match=r"config of .* was edited: .*'box'"):
                act()
        label_studio.ask("PATCH", f"/api/projects/{project}/", {"label_config": xml})
        assert ours.push(tasks).pushed == 1

    def test_new_class_is_added_to_config(self, labeler, make_task, younger_roadwork):
        tasks = [make_task(1)]
        before = labeler(tasks, taxonomy=younger_roadwork)
        before.push(tasks)
        with before.open_project() as (client, project):
            assert 'value="worker"' not in projects.read(client, project).label_config
        ours = labeler(tasks)
        ours.push(tasks)
        with ours.open_project() as (client, project):
            assert 'value="worker"' in projects.read(client, project).label_config
