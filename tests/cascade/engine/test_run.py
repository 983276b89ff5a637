from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cascade.engine.run import Failure, Memory, run
from cascade.manifest import Member
from cascade.predictions import Detections

CPU = torch.device("cpu")


class Brightness:
    """A detector that boxes the whole image, surer the brighter it is; it chokes on black."""

    classes = ("thing",)

    def __init__(self) -> None:
        self.batches: list[tuple[str, ...]] = []

    def prepare(self, batch):
        return {"view": batch.view(8, 8)}

    def forward(self, tensors):
        return tensors["view"].float().mean(dim=(1, 2, 3)) / 255

    def decode(self, raw, batch):
        self.batches.append(batch.ids)
        if (raw < 0.01).any():
            raise ValueError("too dark\nto see")
        return [
            Detections(
                boxes_xyxy=np.array([[0, 0, 1, 1]], np.float32),
                scores=np.array([p], np.float32),
                class_ids=np.zeros(1, np.int64),
                classes=self.classes,
            )
            for p in raw.tolist()
        ]


def member(name="bright", batch_size=4) -> Member:
    return Member(
        name=name, tier="detection", adapter="center_point", licence="MIT", batch_size=batch_size
    )


def images(folder: Path, levels) -> list[Path]:
    paths = []
    for i, level in enumerate(levels):
        path = folder / f"{i:02d}.png"
        cv2.imwrite(str(path), np.full((12, 16, 3), level, np.uint8))
        paths.append(path)
    return paths


def names(paths) -> list[str]:
    return [path.stem for path in paths]


def test_every_image_gets_its_own_prediction(tmp_path):
    paths = images(tmp_path, [50, 100, 200])
    sink = Memory()
    tally = run(
        {"bright": Brightness()}, {"bright": member()}, names(paths), paths, sink, device=CPU
    )
    scores = [float(sink.results[name]["bright"].scores[0]) for name in names(paths)]
    assert scores == pytest.approx([50 / 255, 100 / 255, 200 / 255], abs=0.01)
    assert (tally.images, tally.predicted, tally.failed) == (3, 3, 0)


def test_one_bad_image_fails_alone_and_with_its_reason_in_one_line(tmp_path):
    paths = images(tmp_path, [50, 0, 200, 90])
    sink = Memory()
    run({"bright": Brightness()}, {"bright": member()}, names(paths), paths, sink, device=CPU)
    assert sink.results["01"]["bright"] == Failure("ValueError", "too dark to see")
    assert all(isinstance(sink.results[i]["bright"], Detections) for i in ("00", "02", "03"))


def test_an_unreadable_file_fails_for_every_member_and_stops_nobody(tmp_path):
    paths = images(tmp_path, [50, 60, 70])
    paths[1].write_bytes(b"")
    sink = Memory()
    models = {"a": Brightness(), "b": Brightness()}
    tally = run(models, {n: member(n) for n in models}, names(paths), paths, sink, device=CPU)
    assert {sink.results["01"][n].error for n in models} == {"ImageError"}
    assert (tally.predicted, tally.failed) == (4, 2)


def test_a_resumed_run_keeps_the_batches_and_skips_those_that_are_done(tmp_path):
    paths = images(tmp_path, [40, 50, 60, 70, 80, 90])
    model = Brightness()
    run(
        {"bright": model}, {"bright": member(batch_size=2)}, names(paths), paths, Memory(),
        device=CPU, todo={"bright": {"03"}},
    )  # fmt: skip
    assert model.batches == [("02", "03")]


def test_a_resumed_run_hands_on_only_what_was_to_do(tmp_path):
    paths = images(tmp_path, [40, 50, 60, 70])
    sink = Memory()
    tally = run(
        {"a": Brightness(), "b": Brightness()}, {n: member(n) for n in "ab"}, names(paths), paths,
        sink, device=CPU, todo={"a": {"01"}, "b": {"01", "02"}},
    )  # fmt: skip
    assert {name: sorted(row) for name, row in sink.results.items()} == {
        "01": ["a", "b"],
        "02": ["b"],
    }
    assert (tally.images, tally.predicted, tally.failed) == (2, 3, 0)


def test_a_file_that_went_missing_takes_nothing_back_that_was_done(tmp_path):
    paths = images(tmp_path, [40, 50])
    paths[0].unlink()
    sink = Memory()
    tally = run(
        {"a": Brightness(), "b": Brightness()}, {n: member(n) for n in "ab"}, names(paths), paths,
        sink, device=CPU, todo={"a": {"00"}, "b": {"01"}},
    )  # fmt: skip
    assert sink.results["00"] == {"a": Failure("ImageError", f"{paths[0]} cannot be read: "
                                               "No such file or directory.")}  # fmt: skip
    assert (tally.predicted, tally.failed) == (1, 1)


def test_progress_counts_what_was_done_before(tmp_path):
    paths = images(tmp_path, [40, 50, 60, 70])
    told = []
    run(
        {"bright": Brightness()}, {"bright": member(batch_size=2)}, names(paths), paths, Memory(),
        device=CPU, todo={"bright": {"02", "03"}}, progress=lambda *at: told.append(at),
    )  # fmt: skip
    assert told == [(4, 4)]


def test_members_of_smaller_batches_share_the_images_of_a_larger_one(tmp_path):
    paths = images(tmp_path, [40, 50, 60, 70])
    small, large = Brightness(), Brightness()
    run(
        {"small": small, "large": large},
        {"small": member("small", 1), "large": member("large", 4)},
        names(paths), paths, Memory(), device=CPU,
    )  # fmt: skip
    assert [len(ids) for ids in small.batches] == [1, 1, 1, 1]
    assert [len(ids) for ids in large.batches] == [4]


def test_nothing_to_do_is_no_work(tmp_path):
    sink = Memory()
    tally = run({}, {}, [], [], sink, device=CPU)
    assert (tally.images, sink.results) == (0, {})
