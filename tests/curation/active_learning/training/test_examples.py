import pytest

from curation.active_learning.training import examples
from curation.errors import StageError
from curation.storage import collection, reader, schema


def test_the_labeled_images_of_a_split_come_with_their_ground_truth(ingested, center):
    found = examples.split_examples(ingested, "val", center.taxonomy)
    view = ingested.match({schema.SPLIT: "val"})
    ids, paths = collection.ids_and_paths(view)
    truths = reader.read_detections(view, schema.GROUND_TRUTH, center.taxonomy)
    assert [str(one.image) for one in found] == paths
    assert [len(one.target) for one in found] == [len(one) for one in truths]
    assert sum(len(one.target) for one in found) > len(ids)


def test_nothing_is_labeled_yet(ingested, center):
    assert examples.split_examples(ingested, "train", center.taxonomy) == []
    with pytest.raises(StageError, match="0 training samples are labeled"):
        examples.training_examples(ingested, center.taxonomy)
