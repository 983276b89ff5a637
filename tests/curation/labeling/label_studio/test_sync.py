"""From the server into the dataset: what is new, changed, deleted, doubtful, or not there."""

import numpy as np
import pytest

from cascade.predictions import Detections
from curation.labeling import factory
from curation.labeling.label_studio.api import tasks as stored_tasks
from curation.labeling.label_studio.sync import DELETED, OnlyPush, take_over
from curation.stages.label import label
from curation.storage import queries, reader, schema, writer

ROUND = "round-01"
N = 4


@pytest.fixture
def round_one(scenes, settings, label_studio, monkeypatch):
    """Return a dataset whose first round chose four samples, and its labeler."""
    monkeypatch.setenv("LABEL_STUDIO_URL", label_studio.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", label_studio.personal_token())
    scenes.name = f"sync-{scenes.name}"
    schema.declare_choice(scenes)
    chosen = scenes.match({schema.SPLIT: "train"}).limit(N).values("id")
    writer.add_tags(scenes, {one: [ROUND, "arm:hard"] for one in chosen})
    writer.write_columns(scenes, chosen, {schema.RANK: list(range(1, N + 1))})
    labeler = factory.create("label-studio", scenes, settings)
    once = OnlyPush(labeler)
    assert label(scenes, 1, once).waiting == N
    assert once.result.pushed == N
    return scenes, labeler, chosen


def sync(dataset, labeler):
    return take_over(dataset, 1, labeler, labeler.look(ROUND))


def task_ids(labeler):
    """Return the task of each sample."""
    with labeler.project() as (client, project):
        (page,) = stored_tasks.pages(client, project)
    return {one["data"]["sample_id"]: one["id"] for one in page}


def cone(x1=0.25, name="cone"):
    value = {"x": 100 * x1, "y": 25, "width": 25, "height": 50, "rotation": 0}
    return {
        "id": "a", "type": "rectanglelabels", "from_name": "box", "to_name": "image",
        "value": {**value, "rectanglelabels": [name]},
    }  # fmt: skip


def truth(dataset, sample_id):
    (found,) = reader.read_detections(
        dataset.select([sample_id]), schema.GROUND_TRUTH, queries.taxonomy_of(dataset)
    )
    assert isinstance(found, Detections)
    return found


def test_an_annotation_from_its_first_day_to_its_last(round_one, label_studio):
    dataset, labeler, (one, two, three, four) = round_one
    tasks = task_ids(labeler)

    def submit(sample, result, **more):
        path = f"/api/tasks/{tasks[sample]}/annotations/"
        return label_studio.ask("POST", path, {"result": result, **more})["id"]

    first, second = submit(one, [cone()], lead_time=12.0), submit(two, [])
    submit(three, [cone(name="unicorn")])
    begun = sync(dataset, labeler)
    assert (begun.labeled, begun.updated, begun.deleted, begun.seconds) == (2, 0, (), 12.0)
    assert [(sample, what) for sample, what, _ in begun.review] == [(three, "unicorn")]
    assert (begun.waiting, begun.missing, begun.changed) == (2, 0, True)
    assert truth(dataset, one).labels == ["cone"]
    np.testing.assert_allclose(truth(dataset, one).boxes_xyxy, [[0.25, 0.25, 0.5, 0.75]], atol=1e-6)
    assert len(truth(dataset, two)) == 0
    assert dataset[one][schema.LABELED_ROUND] == 1
    assert dataset[three][schema.LABELED_ROUND] is None
    assert not sync(dataset, labeler).changed

    label_studio.ask("PATCH", f"/api/annotations/{first}/", {"result": [cone(0.5)]})
    label_studio.ask("DELETE", f"/api/annotations/{second}/")
    then = sync(dataset, labeler)
    assert (then.labeled, then.updated, then.deleted) == (0, 1, (two,))
    assert truth(dataset, one).boxes_xyxy[0, 0] == pytest.approx(0.5)
    assert dataset.match_tags(DELETED).values("id") == [two]
    assert len(truth(dataset, two)) == 0, "it keeps its ground truth until a person decides"

    submit(two, [cone()])
    again = sync(dataset, labeler)
    assert (again.labeled, again.updated) == (0, 1)
    assert len(dataset.match_tags(DELETED)) == 0
    assert truth(dataset, two).labels == ["cone"]

    label_studio.ask("DELETE", f"/api/tasks/{tasks[four]}/")
    assert sync(dataset, labeler).missing == 1
    once = OnlyPush(labeler)
    label(dataset, 1, once)
    assert (once.result.pushed, once.result.existing) == (1, 1)
    assert sync(dataset, labeler).missing == 0


def test_what_a_person_changed_in_the_app_stays_while_the_server_says_nothing_new(
    round_one, label_studio
):
    dataset, labeler, (one, *_) = round_one
    path = f"/api/tasks/{task_ids(labeler)[one]}/annotations/"
    label_studio.ask("POST", path, {"result": [cone()]})
    sync(dataset, labeler)
    sample = dataset[one]
    sample[schema.GROUND_TRUTH].detections = []
    sample.save()
    assert not sync(dataset, labeler).changed
    assert len(truth(dataset, one)) == 0


def test_frozen_splits_get_nothing(round_one, label_studio):
    dataset, labeler, (one, *_) = round_one
    path = f"/api/tasks/{task_ids(labeler)[one]}/annotations/"
    label_studio.ask("POST", path, {"result": [cone()]})
    sample = dataset[one]
    sample[schema.SPLIT] = "test"
    sample.save()
    assert not sync(dataset, labeler).changed


def test_what_a_cut_off_pull_took_is_known_to_be_gone_when_it_is_deleted(
    round_one, label_studio, monkeypatch
):
    """Ground truth was written, and nobody came to note it: the next pull still knows."""
    dataset, labeler, (one, *_) = round_one
    path = f"/api/tasks/{task_ids(labeler)[one]}/annotations/"
    made = label_studio.ask("POST", path, {"result": [cone()]})["id"]

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(labeler, "remember", killed)
        with pytest.raises(KeyboardInterrupt):
            sync(dataset, labeler)
    assert truth(dataset, one).labels == ["cone"]
    label_studio.ask("DELETE", f"/api/annotations/{made}/")
    assert sync(dataset, labeler).deleted == (one,)


def test_what_a_round_took_over_is_nothing_new_to_a_sync(round_one, label_studio):
    dataset, labeler, (one, *_) = round_one
    path = f"/api/tasks/{task_ids(labeler)[one]}/annotations/"
    made = label_studio.ask("POST", path, {"result": [cone()]})["id"]
    assert label(dataset, 1, labeler).new == 1
    sample = dataset[one]
    sample[schema.GROUND_TRUTH].detections = []
    sample.save()
    assert not sync(dataset, labeler).changed, "what a person did in the App since, stays"
    label_studio.ask("PATCH", f"/api/annotations/{made}/", {"result": [cone(0.5)]})
    assert label(dataset, 1, labeler).new == 0, "a round labels nothing anew"
    assert sync(dataset, labeler).updated == 1, "and hides no change from a sync"
    assert truth(dataset, one).boxes_xyxy[0, 0] == pytest.approx(0.5)


def test_the_data_manager_has_slices_and_the_app_our_colours(round_one):
    dataset, labeler, _ = round_one
    with labeler.project() as (client, project):
        (page,) = stored_tasks.pages(client, project)
    assert {one["data"]["slice"] for one in page} == {"time_of_day=day, weather=clear"}
    shown = {one["path"] for one in dataset.app_config.color_scheme.fields}
    assert {schema.GROUND_TRUTH, schema.CONSENSUS} <= shown
