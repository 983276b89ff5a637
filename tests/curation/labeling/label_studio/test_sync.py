"""Import of new, changed, deleted, doubtful and missing annotations into the dataset."""

import numpy as np
import pytest

from cascade.predictions import Detections
from curation.labeling import factory
from curation.labeling.label_studio.api.tasks import pages
from curation.labeling.label_studio.sync import DELETED, PushOnlyLabeler, import_annotations
from curation.pipeline.run_stage import run_stage
from curation.stages.label import label
from curation.storage import queries, reader, schema, writer

ROUND = "round-01"
N = 4


@pytest.fixture
def round_one(scenes, settings, label_studio, monkeypatch):
    """Return a dataset whose first round chose four samples, its labeler, and their ids."""
    monkeypatch.setenv("LABEL_STUDIO_URL", label_studio.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", label_studio.personal_token())
    scenes.name = f"sync-{scenes.name}"
    schema.declare_choice(scenes)
    chosen = scenes.match({schema.SPLIT: "train"}).limit(N).values("id")
    writer.add_tags(scenes, {sample_id: [ROUND, "arm:hard"] for sample_id in chosen})
    writer.write_columns(scenes, chosen, {schema.RANK: list(range(1, N + 1))})
    labeler = factory.create("label-studio", scenes, settings)
    once = PushOnlyLabeler(labeler)
    assert run_stage(label, scenes, 1, once).waiting == N
    assert once.result.pushed == N
    return scenes, labeler, chosen


def sync(dataset, labeler):
    return import_annotations(dataset, 1, labeler, labeler.fetch(ROUND))


def task_ids(labeler):
    """Return the task of each sample."""
    with labeler.open_project() as (client, project):
        (page,) = pages(client, project)
    return {row["data"]["sample_id"]: row["id"] for row in page}


def cone(x1=0.25, name="cone"):
    value = {"x": 100 * x1, "y": 25, "width": 25, "height": 50, "rotation": 0}
    return {
        "id": "a", "type": "rectanglelabels", "from_name": "box", "to_name": "image",
        "value": {**value, "rectanglelabels": [name]},
    }  # fmt: skip


def truth(dataset, sample_id):
    (boxes,) = reader.read_detections(
        dataset.select([sample_id]), schema.GROUND_TRUTH, queries.taxonomy_of(dataset)
    )
    assert isinstance(boxes, Detections)
    return boxes


def test_life_cycle_of_annotations(round_one, label_studio):
    dataset, labeler, (id1, id2, id3, id4) = round_one
    tasks = task_ids(labeler)

    def submit(sample, result, **more):
        path = f"/api/tasks/{tasks[sample]}/annotations/"
        return label_studio.ask("POST", path, {"result": result, **more})["id"]

    first, second = submit(id1, [cone()], lead_time=12.0), submit(id2, [])
    submit(id3, [cone(name="unicorn")])
    begun = sync(dataset, labeler)
    assert (begun.labeled, begun.updated, begun.deleted, begun.seconds) == (2, 0, (), 12.0)
    assert [(sample_id, subject) for sample_id, subject, _ in begun.review] == [(id3, "unicorn")]
    assert (begun.waiting, begun.missing, begun.changed) == (2, 0, True)
    assert truth(dataset, id1).labels == ["cone"]
    np.testing.assert_allclose(truth(dataset, id1).boxes_xyxy, [[0.25, 0.25, 0.5, 0.75]], atol=1e-6)
    assert len(truth(dataset, id2)) == 0
    assert dataset[id1][schema.LABELED_ROUND] == 1
    assert dataset[id3][schema.LABELED_ROUND] is None
    assert not sync(dataset, labeler).changed

    label_studio.ask("PATCH", f"/api/annotations/{first}/", {"result": [cone(0.5)]})
    label_studio.ask("DELETE", f"/api/annotations/{second}/")
    then = sync(dataset, labeler)
    assert (then.labeled, then.updated, then.deleted) == (0, 1, (id2,))
    assert truth(dataset, id1).boxes_xyxy[0, 0] == pytest.approx(0.5)
    assert dataset.match_tags(DELETED).values("id") == [id2]
    assert len(truth(dataset, id2)) == 0, "ground truth is kept until a person decides"

    submit(id2, [cone()])
    again = sync(dataset, labeler)
    assert (again.labeled, again.updated) == (0, 1)
    assert len(dataset.match_tags(DELETED)) == 0
    assert truth(dataset, id2).labels == ["cone"]

    label_studio.ask("DELETE", f"/api/tasks/{tasks[id4]}/")
    assert sync(dataset, labeler).missing == 1
    once = PushOnlyLabeler(labeler)
    label(dataset, 1, once)
    assert (once.result.pushed, once.result.existing) == (1, 1)
    assert sync(dataset, labeler).missing == 0


def test_edits_in_app_are_kept_without_changes_on_server(round_one, label_studio):
    dataset, labeler, (id1, *_) = round_one
    path = f"/api/tasks/{task_ids(labeler)[id1]}/annotations/"
    label_studio.ask("POST", path, {"result": [cone()]})
    sync(dataset, labeler)
    sample = dataset[id1]
    sample[schema.GROUND_TRUTH].detections = []
    sample.save()
    assert not sync(dataset, labeler).changed
    assert len(truth(dataset, id1)) == 0


def test_frozen_splits_are_not_labeled(round_one, label_studio):
    dataset, labeler, (id1, *_) = round_one
    path = f"/api/tasks/{task_ids(labeler)[id1]}/annotations/"
    label_studio.ask("POST", path, {"result": [cone()]})
    sample = dataset[id1]
    sample[schema.SPLIT] = "test"
    sample.save()
    assert not sync(dataset, labeler).changed


def test_deletion_is_found_after_interrupted_import(round_one, label_studio, monkeypatch):
    """Ground truth was written, but the import was not recorded as complete."""
    dataset, labeler, (id1, *_) = round_one
    path = f"/api/tasks/{task_ids(labeler)[id1]}/annotations/"
    annotation_id = label_studio.ask("POST", path, {"result": [cone()]})["id"]

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(labeler, "end_import", killed)
        with pytest.raises(KeyboardInterrupt):
            sync(dataset, labeler)
    assert truth(dataset, id1).labels == ["cone"]
    label_studio.ask("DELETE", f"/api/annotations/{annotation_id}/")
    assert sync(dataset, labeler).deleted == (id1,)


def test_annotations_imported_by_a_round_are_not_new_to_a_sync(round_one, label_studio):
    dataset, labeler, (id1, *_) = round_one
    path = f"/api/tasks/{task_ids(labeler)[id1]}/annotations/"
    annotation_id = label_studio.ask("POST", path, {"result": [cone()]})["id"]
    assert label(dataset, 1, labeler).new == 1
    sample = dataset[id1]
    sample[schema.GROUND_TRUTH].detections = []
    sample.save()
    assert not sync(dataset, labeler).changed, "edits in the App are kept"
    label_studio.ask("PATCH", f"/api/annotations/{annotation_id}/", {"result": [cone(0.5)]})
    assert label(dataset, 1, labeler).new == 0, "a round labels no sample twice"
    assert sync(dataset, labeler).updated == 1, "changes are still visible to a sync"
    assert truth(dataset, id1).boxes_xyxy[0, 0] == pytest.approx(0.5)


def test_data_manager_has_slices_and_app_has_colors(round_one):
    dataset, labeler, _ = round_one
    with labeler.open_project() as (client, project):
        (page,) = pages(client, project)
    assert {row["data"]["slice"] for row in page} == {"time_of_day=day, weather=clear"}
    shown = {field["path"] for field in dataset.app_config.color_scheme.fields}
    assert {schema.GROUND_TRUTH, schema.CONSENSUS} <= shown
