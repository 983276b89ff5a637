import pytest

from curation.active_learning.training import examples
from curation.errors import StageError
from curation.storage import collection, reader, schema


def test_split_examples_have_ground_truth(ingested, center):
    result = examples.split_examples(ingested, "val", center.taxonomy)
    view = ingested.match({schema.SPLIT: "val"})
    ids, paths = collection.ids_and_paths(view)
    truths = reader.read_detections(view, schema.GROUND_TRUTH, center.taxonomy)
    assert [str(example.image) for example in result] == paths
    assert [len(truth.target) for truth in result] == [len(truth) for truth in truths]
    assert sum(len(example.target) for example in result) > len(ids)


def test_training_without_labeled_samples_is_refused(ingested, center):
    assert examples.split_examples(ingested, "train", center.taxonomy) == []
    with pytest.raises(StageError, match="0 training samples are labeled"):
        examples.training_examples(ingested, center.taxonomy)
