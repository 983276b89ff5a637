"""Against a real server: every task once, every answer taken over, whatever fails."""

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
    """Return the tasks of the labeler's project as the server has them."""
    with labeler.project() as (_, project):
        found = server.ask("GET", f"/api/tasks/?project={project}&page_size=1000&fields={fields}")
    return found["tasks"]


def submit(server, task, result, **more):
    return server.ask("POST", f"/api/tasks/{task['id']}/annotations/", {"result": result, **more})


@pytest.mark.parametrize("kind", ["legacy", "personal"])
def test_both_kinds_of_token_work(label_studio, connect, kind):
    token = label_studio.token if kind == "legacy" else label_studio.personal_token()
    with connect(token=token) as client:
        assert client.me() == "admin@example.com"


def test_a_push_and_what_the_server_made_of_it(label_studio, labeler, make_task, detections):
    boxes = detections(("cone", 0.1, 0.2, 0.3, 0.6), ("worker", 0.5, 0.5, 0.75, 1.0))
    given = [make_task(i, boxes=boxes) for i in (1, 2, 3)]
    ours = labeler(given)
    pushed = ours.push(given)
    assert (pushed.pushed, pushed.existing) == (3, 0)
    assert pushed.where.startswith(f"{label_studio.url}/projects/")
    assert pushed.where in ours.where
    rows = tasks_of(label_studio, ours)
    assert [row["data"]["sample_id"] for row in rows] == ["id1", "id2", "id3"]
    assert [row["data"]["rank"] for row in rows] == [1, 2, 3]
    assert rows[0]["data"]["reason"] == "the members disagree"
    prediction = rows[0]["predictions"][0]
    assert prediction["model_version"] == "consensus"
    assert prediction["score"] == pytest.approx(0.5)
    assert [one["value"]["rectanglelabels"] for one in prediction["result"]] == [
        ["cone"], ["worker"],
    ]  # fmt: skip


def test_a_second_push_changes_nothing_and_a_third_adds_what_is_new(
    label_studio, labeler, make_task
):
    given = [make_task(i) for i in range(1, 6)]
    ours = labeler(given)
    ours.push(given[:3])
    before = tasks_of(label_studio, ours)
    assert ours.push(given[:3]).pushed == 0
    assert tasks_of(label_studio, ours) == before
    again = ours.push(given)
    assert (again.pushed, again.existing) == (2, 3)
    assert len(tasks_of(label_studio, ours)) == 5


def test_only_what_a_person_submitted_comes_back(label_studio, labeler, make_task, detections):
    boxes = detections(("cone", 0.1, 0.2, 0.3, 0.6))
    given = [make_task(i, boxes=boxes) for i in range(1, 6)]
    ours = labeler(given)
    ours.push(given)
    rows = tasks_of(label_studio, ours)
    submit(label_studio, rows[0], [region("barrel", 0.25, 0.5, 0.5, 0.75, given[0])], lead_time=7.5)
    submit(label_studio, rows[1], [])
    submit(label_studio, rows[2], [], was_cancelled=True)
    submit(label_studio, rows[3], [region("unicorn", 0.1, 0.1, 0.2, 0.2, given[3])])
    found = {one.sample_id: one for one in ours.pull(ROUND)}
    assert set(found) == {"id1", "id2", "id4"}
    assert found["id1"].boxes.labels == ["drum"], "a synonym means its class"
    np.testing.assert_allclose(found["id1"].boxes.boxes_xyxy, [[0.25, 0.5, 0.5, 0.75]], atol=1e-6)
    assert found["id1"].seconds == 7.5
    assert found["id1"].annotator == "admin@example.com"
    assert found["id2"].complete
    assert len(found["id2"].boxes) == 0
    assert not found["id4"].complete
    assert "unicorn" in found["id4"].doubts[0].what
    status = ours.status(ROUND)
    assert (status.tasks, status.submitted, status.doubtful, status.waiting) == (5, 3, 1, 2)
    assert ours.look(ROUND).merged.skipped == ("id3",)


def test_changed_and_deleted_annotations_are_seen(label_studio, labeler, make_task):
    given = [make_task(i) for i in (1, 2, 3)]
    ours = labeler(given)
    ours.push(given)
    rows = tasks_of(label_studio, ours)
    made = [
        submit(label_studio, row, [region("cone", 0.1, 0.1, 0.5, 0.5, task)])["id"]
        for row, task in zip(rows, given, strict=True)
    ]
    first = ours.look(ROUND)
    assert first.changes.new == tuple(made)
    ours.remember(ROUND, first)
    changed = [region("barrel", 0.1, 0.1, 0.5, 0.5, given[0])]
    label_studio.ask("PATCH", f"/api/annotations/{made[0]}/", {"result": changed})
    label_studio.ask("DELETE", f"/api/annotations/{made[1]}/")
    for since in (first.mark, None):
        second = ours.look(ROUND, since=since)
        assert (second.changes.new, second.changes.changed) == ((), (made[0],))
        assert second.changes.deleted == (made[1],)
    assert ours.past_samples(ROUND)[made[1]] == "id2"
    ours.remember(ROUND, second)
    third = ours.look(ROUND)
    assert (third.changes.new, third.changes.changed, third.changes.deleted) == ((), (), ())


def test_tasks_of_another_round_are_others(label_studio, labeler, make_task):
    first, second = make_task(1), make_task(1, round_number=2)
    ours = labeler([first])
    ours.push([first])
    assert ours.push([second]).pushed == 1
    rows = tasks_of(label_studio, ours)
    assert [row["data"]["round"] for row in rows] == [1, 2]
    submit(label_studio, rows[1], [])
    assert ours.pull(ROUND) == []
    assert len(ours.pull("round-02")) == 1


def test_two_people_and_overlap(label_studio, labeler, make_task):
    given = [make_task(1)]
    ours = labeler(given, overlap=2)
    ours.push(given)
    (row,) = tasks_of(label_studio, ours)
    submit(label_studio, row, [region("cone", 0.1, 0.1, 0.5, 0.5, given[0])], lead_time=2)
    assert ours.pull(ROUND) == []
    assert ours.look(ROUND).merged.partial == ("id1",)
    email = f"second-{row['id']}@example.com"
    other = label_studio.ask(
        "POST", "/api/users/", {"email": email, "username": email, "password": "only-for-tests-1"}
    )
    theirs = [region("cone", 0.12, 0.1, 0.5, 0.5, given[0])]
    submit(label_studio, row, theirs, lead_time=3, completed_by=other["id"])
    seen = ours.look(ROUND)
    assert seen.merged.agreement == {"id1": 1.0}
    (one,) = seen.merged.annotated
    assert one.annotator.startswith("admin@example.com, ")
    assert one.seconds == 5
    np.testing.assert_allclose(one.boxes.boxes_xyxy, [[0.11, 0.1, 0.5, 0.5]], atol=1e-6)


def test_a_pull_before_any_push_says_so(labeler, make_task):
    with pytest.raises(LabelingError, match=r"has no project of .* Push its tasks"):
        labeler([make_task(1)]).pull(ROUND)


def test_what_others_added_to_the_project_is_named(label_studio, labeler, make_task):
    given = [make_task(1)]
    ours = labeler(given)
    ours.push(given)
    with ours.project() as (_, project):
        foreign = [{"data": {"image": "/elsewhere.png"}, "annotations": [{"result": []}]}]
        path = f"/api/projects/{project}/import?return_task_ids=true"
        (task,) = label_studio.ask("POST", path, foreign)["task_ids"]
    assert ours.status(ROUND).strangers == (f"task {task}",)
    assert ours.pull(ROUND) == []


def test_every_annotators_version_is_kept(label_studio, labeler, make_task, tmp_path):
    given = [make_task(1)]
    ours = labeler(given)
    ours.push(given)
    (row,) = tasks_of(label_studio, ours)
    comment = {"type": "textarea", "from_name": "comment", "to_name": "image",
               "value": {"text": ["blurred"]}}  # fmt: skip
    drawn = region("cone", 0.1, 0.1, 0.5, 0.5, given[0])
    submit(label_studio, row, [drawn, comment], lead_time=4)
    ours.pull(ROUND)
    (kept,) = map(json.loads, (tmp_path / "notes" / "round-01.jsonl").read_text().splitlines())
    assert (kept["sample_id"], kept["agreement"], kept["seconds"]) == ("id1", 1.0, 4)
    assert kept["comments"] == {"admin@example.com": "blurred"}
    assert kept["versions"][0]["labels"] == ["cone"]


def test_a_withdrawn_round_keeps_what_people_did(label_studio, labeler, make_task):
    given = [make_task(i) for i in (1, 2, 3)]
    ours = labeler(given)
    ours.push(given)
    rows = tasks_of(label_studio, ours)
    submit(label_studio, rows[1], [])
    for deleted in (2, 0):
        assert f"{deleted} tasks were deleted" in ours.withdraw(ROUND)
    assert [one["id"] for one in tasks_of(label_studio, ours)] == [rows[1]["id"]]


def test_two_datasets_of_one_name_have_a_project_each(labeler, make_task):
    tasks = [make_task(i) for i in range(1, 4)]
    ours = labeler(tasks, name="drive", dataset_id="ours")
    theirs = labeler(tasks, name="drive", dataset_id="theirs")
    ours.push(tasks)
    assert theirs.push(tasks).pushed == 3
    with ours.project() as (_, one), theirs.project() as (_, other):
        assert one != other
    assert ours.withdraw("round-01").startswith("3 tasks")
    assert theirs.status("round-01").tasks == 3


def test_the_data_manager_sorts_by_rank_as_numbers(label_studio, labeler, make_task):
    given = [make_task(i) for i in range(1, 13)]
    ours = labeler(given)
    ours.push(given[::-1])
    with ours.project() as (_, project):
        views = label_studio.ask("GET", f"/api/dm/views/?project={project}")
    (view,) = [one["id"] for one in views if one["data"]["title"] == "By rank"]
    found = label_studio.ask("GET", f"/api/tasks/?view={view}&page_size=20")["tasks"]
    assert [one["data"]["rank"] for one in found] == list(range(1, 13))


class TestTheTaxonomy:
    def test_a_config_that_a_user_edited_is_refused_in_one_line(
        self, label_studio, labeler, make_task
    ):
        given = [make_task(i) for i in (1, 2)]
        ours = labeler(given)
        ours.push(given[:1])
        with ours.project() as (client, project):
            xml = projects.read(client, project).label_config
        edited = xml.replace('name="box"', 'name="mine"')
        assert edited != xml
        label_studio.ask("PATCH", f"/api/projects/{project}/", {"label_config": edited})
        for act in (lambda: ours.push(given), lambda: ours.pull(ROUND)):
            with pytest.raises(LabelingError, match=r"config of .* was edited: .*'box'"):
                act()
        label_studio.ask("PATCH", f"/api/projects/{project}/", {"label_config": xml})
        assert ours.push(given).pushed == 1

    def test_a_class_that_came_since_is_added(self, labeler, make_task, younger_roadwork):
        given = [make_task(1)]
        before = labeler(given, taxonomy=younger_roadwork)
        before.push(given)
        with before.project() as (client, project):
            assert 'value="worker"' not in projects.read(client, project).label_config
        ours = labeler(given)
        ours.push(given)
        with ours.project() as (client, project):
            assert 'value="worker"' in projects.read(client, project).label_config
