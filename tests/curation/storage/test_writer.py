"""Bulk writes and reads of a dataset, against a real database and FiftyOne."""

from __future__ import annotations

import fiftyone as fo
import numpy as np
import pytest

from cascade import taxonomy
from cascade.fusion.calibration import Calibration
from cascade.fusion.consensus import decide, fuse
from cascade.manifest import Fusion
from cascade.predictions import Detections, Failure
from curation.errors import DatasetError, StoreError
from curation.storage import collection, reader, schema, writer

TAXONOMY = taxonomy.load("roadwork")
PLAIN = Calibration.uncalibrated(TAXONOMY.deciding)
PRINTS = {"a": "fa", "b": "fb"}


def boxes(*rows, classes=("Traffic Cone", "drum", "banana")):
    """Return detections of rows `(class id, score, x1, y1, x2, y2)`."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(
        boxes_xyxy=table[:, 2:].astype(np.float32),
        scores=table[:, 1].astype(np.float32),
        class_ids=table[:, 0].astype(np.int64),
        classes=classes,
    )


CONE = (0, 0.5, 0.25, 0.25, 0.5, 0.75)
DRUM = (1, 0.75, 0.5, 0.0, 1.0, 0.5)
BANANA = (2, 0.9, 0.0, 0.0, 0.5, 0.5)


@pytest.fixture
def samples(dataset):
    """Four samples, not in the order of their files, with two declared members."""
    dataset.add_samples(
        [
            fo.Sample(filepath=f"/{name}.jpg", metadata=fo.ImageMetadata(width=200, height=100))
            for name in "dbca"
        ]
    )
    schema.declare(dataset, TAXONOMY, ["a", "b"])
    return dataset


def write(samples, results, **changes):
    options = {"taxonomy": TAXONOMY, "fingerprints": PRINTS, "calibration": PLAIN} | changes
    return writer.write_members(samples, results, **options)


def test_samples_are_ordered_by_file(samples):
    ids, paths = collection.ids_and_paths(samples)
    assert [path[-5] for path in paths] == list("abcd")
    assert samples[ids[0]].filepath == paths[0]


def test_written_members_are_readable_by_fiftyone(samples):
    ids, _ = collection.ids_and_paths(samples)
    counts = write(samples, {ids[0]: {"a": boxes(CONE, DRUM), "b": boxes()}})
    assert (counts.samples, counts.boxes, counts.failures) == (1, 2, 0)
    sample = samples[ids[0]]
    cone, drum = sample.a.detections
    assert (cone.label, cone.raw_label, cone.confidence, cone.score) == (
        "cone", "Traffic Cone", 0.5, 0.5,
    )  # fmt: skip
    assert cone.bounding_box == [0.25, 0.25, 0.25, 0.5]
    assert drum.label == "drum"
    assert sample.a.fingerprint == "fa"
    assert sample.b.detections == []
    assert sample.last_modified_at > sample.created_at


def test_empty_result_differs_from_missing_result(samples):
    ids, _ = collection.ids_and_paths(samples)
    write(samples, {ids[0]: {"a": boxes()}})
    assert samples.exists("a").values("id") == [ids[0]]
    assert collection.missing_ids(samples, "b", "fb") == samples.values("id")


def test_missing_ids_have_other_fingerprint(samples):
    ids, _ = collection.ids_and_paths(samples)
    write(samples, {sample_id: {"a": boxes(CONE)} for sample_id in ids[:3]})
    write(samples, {ids[0]: {"a": boxes(CONE)}}, fingerprints={"a": "new weights"})
    assert set(collection.missing_ids(samples, "a", "fa")) == {ids[0], ids[3]}
    assert collection.missing_ids(samples.select(ids[1:3]), "a", "fa") == []


def test_unknown_labels_are_dropped_and_counted(samples):
    ids, _ = collection.ids_and_paths(samples)
    counts = write(samples, {ids[0]: {"a": boxes(CONE, BANANA), "b": boxes(BANANA)}})
    assert counts.dropped == {"banana": 2}
    assert [box.label for box in samples[ids[0]].a.detections] == ["cone"]


def test_calibrated_and_raw_scores_are_stored(samples):
    scaled = Calibration(
        scaling={"a": {"*": (1.0, 2.0)}}, silence={}, relevance={}, quality={}, threshold=0.5
    )
    ids, _ = collection.ids_and_paths(samples)
    write(samples, {ids[0]: {"a": boxes(CONE)}}, calibration=scaled)
    box = samples[ids[0]].a.detections[0]
    assert box.confidence == pytest.approx(1 / (1 + np.exp(-2)))
    assert box.score == 0.5
    assert writer.recalibrate(samples, ["a"], PLAIN) == 1
    samples.reload()
    assert samples[ids[0]].a.detections[0].confidence == pytest.approx(0.5)
    assert samples[ids[0]].a.fingerprint == "fa"


def test_box_with_low_score_and_confidence_is_not_stored(samples):
    ids, _ = collection.ids_and_paths(samples)
    lifted = Calibration(
        scaling={"a": {"*": (1.0, 3.0)}}, silence={}, relevance={}, quality={}, threshold=0.5
    )
    low = boxes((0, 0.04, 0, 0, 0.5, 0.5), (0, 0.06, 0, 0, 0.5, 0.5))
    assert write(samples, {ids[0]: {"a": low}}).boxes == 1
    assert write(samples, {ids[1]: {"a": low}}, calibration=lifted).boxes == 2


def test_failure_is_recorded_and_empties_field(samples):
    ids, _ = collection.ids_and_paths(samples)
    write(samples, {ids[0]: {"a": boxes(CONE), "b": boxes(CONE)}})
    counts = write(samples, {ids[0]: {"a": Failure("ImageError", "zero bytes"), "b": boxes()}})
    assert counts.failures == 1
    sample = samples[ids[0]]
    assert sample.a is None
    assert [
        (failure.stage, failure.member, failure.error, failure.message)
        for failure in sample.failures
    ] == [("predict", "a", "ImageError", "zero bytes")]
    assert ids[0] in collection.missing_ids(samples, "a", "fa")
    assert reader.read_failures(samples) == [
        {
            "sample": ids[0], "filepath": "/a.jpg", "stage": "predict", "member": "a",
            "error": "ImageError", "message": "zero bytes",
        }
    ]  # fmt: skip


def test_failure_is_recorded_once_until_success(samples):
    ids, _ = collection.ids_and_paths(samples)
    for _ in range(2):
        write(samples, {ids[0]: {"a": Failure("ImageError", "zero bytes")}})
    writer.write_failures(samples, "embed", "a", {ids[0]: Failure("RuntimeError", "no memory")})
    assert [failure["stage"] for failure in reader.read_failures(samples)] == ["predict", "embed"]
    write(samples, {ids[0]: {"a": boxes(CONE)}})
    assert [failure["stage"] for failure in reader.read_failures(samples)] == ["embed"]
    writer.write_failures(samples, "embed", "a", {}, cleared=[ids[0]])
    assert reader.read_failures(samples) == []


def test_read_votes_match_written_boxes(samples):
    ids, _ = collection.ids_and_paths(samples)
    write(
        samples,
        {
            ids[2]: {"a": boxes(DRUM, CONE), "b": boxes(CONE)},
            ids[0]: {"a": boxes(CONE), "b": Failure("x", "y")},
        },
    )
    stored = reader.read_votes(samples, ["b", "a"], classes=TAXONOMY)
    assert list(stored.ids) == ids
    votes = stored.votes
    assert votes.ran.tolist() == [[False, True], [False, False], [True, True], [False, False]]
    assert votes.image.tolist() == [0, 2, 2, 2]
    assert votes.member.tolist() == [1, 0, 1, 1]
    assert [votes.classes[c] for c in votes.class_id] == ["cone", "cone", "drum", "cone"]
    assert votes.p.tolist() == [0.5, 0.5, 0.75, 0.5]
    assert votes.boxes_xyxy[2].tolist() == [0.5, 0.0, 1.0, 0.5]
    assert stored.competent[:, :2].tolist() == [[True, False], [True, True]]


def test_read_votes_of_view(samples):
    ids, _ = collection.ids_and_paths(samples)
    write(samples, {sample_id: {"a": boxes(CONE)} for sample_id in ids})
    stored = reader.read_votes(samples.select([ids[3], ids[1]]), ["a"], classes=TAXONOMY)
    assert list(stored.ids) == [ids[1], ids[3]]
    assert stored.votes.image.tolist() == [0, 1]


def test_read_votes_of_foreign_fields(dataset):
    cone = fo.Detection(label="Cone", bounding_box=[0, 0, 0.5, 0.5], confidence=0.25)
    tree = fo.Detection(label="tree", bounding_box=[0, 0, 0.5, 0.5], confidence=0.5)
    silent = fo.Detection(label="cone", bounding_box=[0, 0, 0.5, 0.5])
    dataset.add_samples(
        [
            fo.Sample(filepath="/a.jpg", theirs=fo.Detections(detections=[cone, tree, silent])),
            fo.Sample(filepath="/b.jpg"),
        ]
    )
    stored = reader.read_votes(dataset, ["theirs"], classes=TAXONOMY)
    assert stored.votes.p.tolist() == [0.25]
    assert stored.votes.ran.tolist() == [[True], [False]]
    assert stored.unknown_labels == {"tree": 1, "(no confidence)": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            fo.Detections(detections=[fo.Detection(label="cone", bounding_box=[0, 0, 1, 1])]),
            "No box of theirs has a confidence",
            id="ground truth without confidences",
        ),
        pytest.param(
            fo.Detections(
                detections=[fo.Detection(label="cone", bounding_box=[0, 0, 1, 1], confidence=7)]
            ),
            r"must be in \[0, 1\], got 7",
            id="logit",
        ),
        pytest.param(
            fo.Classification(label="cone"), "must hold Detections, got Classification",
            id="classification",
        ),
        pytest.param(3, "must hold Detections, got no labels", id="number"),
    ],
)  # fmt: skip
def test_fields_without_predictions_are_refused(dataset, content, message):
    dataset.add_sample(fo.Sample(filepath="/a.jpg", theirs=content))
    with pytest.raises(StoreError, match=message):
        reader.read_votes(dataset, ["theirs"], classes=TAXONOMY)


def test_missing_field_is_refused_with_suggestion(samples):
    with pytest.raises(StoreError, match=r"no field 'concensus'\. Did you mean 'consensus'"):
        reader.read_votes(samples, ["concensus"], classes=TAXONOMY)


def test_consensus_is_stored(samples):
    ids, _ = collection.ids_and_paths(samples)
    write(samples, {ids[0]: {"a": boxes(CONE), "b": boxes(CONE)}, ids[1]: {"a": boxes()}})
    write_consensus(samples)
    sample = samples[ids[0]]
    cone = sample.consensus.detections[0]
    assert (cone.label, cone.votes, cone.members, cone.agreement) == ("cone", 2, ["a", "b"], 1.0)
    assert cone.confidence == pytest.approx(0.5)
    assert cone.bounding_box == pytest.approx([0.25, 0.25, 0.25, 0.5])
    assert sample.consensus.fingerprint == "fused"
    assert (sample.roadwork.label, sample.n_voters, sample.cascade_path) == ("yes", 2, "stop")
    assert sample.roadwork.confidence == pytest.approx(0.5)
    assert samples[ids[1]].consensus.detections == []
    assert samples[ids[1]].roadwork.label == "no"
    without_votes = samples[ids[2]]
    assert (without_votes.roadwork, without_votes.agreement, without_votes.n_voters) == (
        None,
        None,
        0,
    )
    assert collection.missing_ids(samples, schema.CONSENSUS, "fused") == []


def test_new_prediction_outdates_consensus(samples):
    ids, _ = collection.ids_and_paths(samples)
    write(samples, {sample_id: {"a": boxes(CONE)} for sample_id in ids})
    write_consensus(samples)
    write(samples, {ids[0]: {"b": boxes(CONE)}})
    assert collection.missing_ids(samples, schema.CONSENSUS, "fused") == [ids[0]]


def write_consensus(samples):
    stored = reader.read_votes(samples, ["a", "b"], classes=TAXONOMY)
    competent = np.ones((2, len(TAXONOMY.names)), bool)
    clusters = fuse(
        stored.votes, competent=competent, weights=np.ones(2), silence=np.full(2, 0.02),
        sizes_px=reader.sizes_px(samples), fusion=Fusion(),
    )  # fmt: skip
    decisions = decide(
        clusters, stored.votes.ran, competent=competent,
        relevance=np.array([float(name in TAXONOMY.deciding) for name in TAXONOMY.names]),
        threshold=0.5, epsilon=0.02,
    )  # fmt: skip
    return writer.write_consensus(
        samples, stored.ids, clusters, decisions, taxonomy=TAXONOMY, threshold=0.4,
        fingerprint="fused", extra_fields=[{schema.PATH: "stop"}] * len(stored.ids),
        hardness=np.full(len(clusters), np.nan),
    )  # fmt: skip


def test_ground_truth_round_trips_exactly(samples):
    ids, _ = collection.ids_and_paths(samples)
    truth = boxes((0, 1, 0.1, 0.2, 0.3, 0.4), classes=TAXONOMY.names)
    no_boxes = Detections.empty(TAXONOMY.names)
    writer.write_ground_truth(samples, {ids[1]: truth, ids[0]: no_boxes}, labeled_round=3)
    view = samples.exists(schema.GROUND_TRUTH)
    empty, result = reader.read_detections(view, schema.GROUND_TRUTH, TAXONOMY)
    assert len(empty) == 0
    assert (result.boxes_xyxy == truth.boxes_xyxy).all()
    assert result.scores.tolist() == [1.0]
    assert samples[ids[1]].labeled_round == 3
    assert samples[ids[1]].ground_truth.detections[0].confidence is None


def test_reading_absent_labels_is_refused_by_default(samples):
    with pytest.raises(StoreError, match="4 of 4 samples have no 'ground_truth'"):
        reader.read_detections(samples, schema.GROUND_TRUTH, TAXONOMY)
    result = reader.read_detections(samples, schema.GROUND_TRUTH, TAXONOMY, absent="empty")
    assert [len(boxes_) for boxes_ in result] == [0] * 4


def test_columns_round_trip(samples):
    ids, _ = collection.ids_and_paths(samples)
    columns = {
        schema.HARDNESS: np.array([0.25, np.nan, 1.0, 0.0]),
        schema.N_VOTERS: np.array([1, 2, 3, 4]),
        schema.CHOSEN_BECAUSE: ["a", None, "c", "d"],
    }
    assert writer.write_columns(samples, ids, columns) == 4
    assert reader.read_columns(samples, [*columns, "no_such_field"]) == {
        "id": ids,
        schema.HARDNESS: [0.25, None, 1.0, 0.0],
        schema.N_VOTERS: [1, 2, 3, 4],
        schema.CHOSEN_BECAUSE: ["a", None, "c", "d"],
        "no_such_field": [None] * 4,
    }


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        pytest.param({"hardnes": [1] * 4}, "Did you mean 'hardness'", id="misspelled field"),
        pytest.param({"hardness": [1, 2]}, "one value for each of 4", id="too few values"),
    ],
)
def test_mismatched_columns_are_refused(samples, columns, message):
    with pytest.raises(StoreError, match=message):
        writer.write_columns(samples, samples.values("id"), columns)


def test_missing_sample_is_refused(samples):
    with pytest.raises(DatasetError, match="1 of 1 samples are not in the dataset"):
        writer.write_columns(samples, ["6b03c9b61c1ceff4ab9ecff5"], {schema.HARDNESS: [1.0]})


def test_unstorable_value_is_refused(samples):
    with pytest.raises(StoreError, match="Cannot store a value"):
        collection.write_documents(samples, {samples.first().id: {"hardness": object()}})


def test_samples_in_memory_are_updated(samples):
    sample = samples.first()
    writer.write_columns(samples, [sample.id], {schema.HARDNESS: [0.5]})
    assert sample.hardness == 0.5


def test_sizes_come_from_metadata_or_file(samples, tmp_path):
    from PIL import Image

    picture = Image.new("RGB", (30, 20))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    samples.add_sample(fo.Sample(filepath=str(tmp_path / "turned.jpg")))
    sizes = reader.sizes_px(samples).tolist()
    assert sorted(sizes) == [[30, 20], *[[100, 200]] * 4]
