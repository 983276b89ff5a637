import pytest
import torch

from curation.errors import StageError
from curation.stages.compare import as_table, compare

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def ensembles(center, worn):
    return {"3": center, "4": worn}


def test_versions_are_stored_and_compared(scenes, ensembles):
    view = scenes.match({"split": "test"})
    before = set(scenes.get_field_schema())
    result = compare(view, ensembles, device=CPU)
    new = set(scenes.get_field_schema()) - before
    assert {f"{name}__v{v}" for name in ("tiny_center", "consensus", "roadwork") for v in "34"} <= (
        new
    )
    assert (result.versions, result.samples, result.labeled) == (("3", "4"), 19, 19)
    rows = {name: (a, b) for name, a, b in result.rows}
    assert rows["mAP at IoU 0.5"][0] > rows["mAP at IoU 0.5"][1] + 0.05, "the other forgot much"
    assert set(rows) == {
        "predicted yes", "boxes per image", "MCC", "precision", "recall", "mAP at IoU 0.5"
    }  # fmt: skip
    labels = view.values("roadwork__v3.label")
    assert rows["predicted yes"][0] == pytest.approx(sum(label == "yes" for label in labels) / 19)
    differing = sum(a != b for a, b in zip(labels, view.values("roadwork__v4.label"), strict=True))
    assert result.differing == differing
    if differing:
        assert len(scenes.load_saved_view(result.view)) == differing
    first = view.first()
    assert first["consensus__v3"].fingerprint == ensembles["3"].identity
    names = [name for name, *_ in as_table(result)]
    assert names[0] == "predicted yes"

    again = []
    compare(view, ensembles, device=CPU, progress=lambda done, total: again.append(done))
    assert again == [], "what was looked at is not looked at again"


def test_compare_keeps_fields_of_champion(predicted, ensembles):
    before = predicted.values("tiny_center.detections.confidence")
    compare(predicted.limit(2), ensembles, device=CPU)
    assert predicted.values("tiny_center.detections.confidence") == before


def test_comparing_version_with_itself_raises(scenes, center):
    with pytest.raises(StageError, match="Expected two different versions, got 3"):
        compare(scenes, {"3": center}, device=CPU)
