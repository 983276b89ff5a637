from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cascade.engine.run import run
from cascade.engine.sinks import MemorySink
from cascade.manifest import Member
from cascade.predictions import Detections, Failure

CPU = torch.device("cpu")


class Brightness:
    """Detector of one box, with the mean brightness as its score; fails on black images."""

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
        name=name, tier="detection", adapter="center_point", license="MIT", batch_size=batch_size
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
    sink = MemorySink()
    tally = run(
        {"bright": Brightness()}, {"bright": member()}, names(paths), paths, sink, device=CPU
    )
    scores = [float(sink.results[name]["bright"].scores[0]) for name in names(paths)]
    assert scores == pytest.approx([50 / 255, 100 / 255, 200 / 255], abs=0.01)
    assert (tally.images, tally.predicted, tally.failed) == (3, 3, 0)


def test_bad_image_fails_alone_with_a_one_line_reason(tmp_path):
    paths = images(tmp_path, [50, 0, 200, 90])
    sink = MemorySink()
    run({"bright": Brightness()}, {"bright": member()}, names(paths), paths, sink, device=CPU)
    assert sink.results["01"]["bright"] == Failure("ValueError", "too dark to see")
    assert all(isinstance(sink.results[i]["bright"], Detections) for i in ("00", "02", "03"))


def test_unreadable_file_fails_for_every_member(tmp_path):
    paths = images(tmp_path, [50, 60, 70])
    paths[1].write_bytes(b"")
    sink = MemorySink()
    models = {"a": Brightness(), "b": Brightness()}
    tally = run(models, {n: member(n) for n in models}, names(paths), paths, sink, device=CPU)
    assert {sink.results["01"][n].error for n in models} == {"ImageError"}
    assert (tally.predicted, tally.failed) == (4, 2)


def test_resumed_run_keeps_the_batches_and_skips_finished_ones(tmp_path):
    paths = images(tmp_path, [40, 50, 60, 70, 80, 90])
    model = Brightness()
    run(
        {"bright": model}, {"bright": member(batch_size=2)}, names(paths), paths,
        MemorySink(), device=CPU, todo={"bright": {"03"}},
    )  # fmt: skip
    assert model.batches == [("02", "03")]


def test_resumed_run_writes_only_remaining_results(tmp_path):
    paths = images(tmp_path, [40, 50, 60, 70])
    sink = MemorySink()
    tally = run(
        {"a": Brightness(), "b": Brightness()}, {n: member(n) for n in "ab"}, names(paths), paths,
        sink, device=CPU, todo={"a": {"01"}, "b": {"01", "02"}},
    )  # fmt: skip
    assert {name: sorted(row) for name, row in sink.results.items()} == {
        "01": ["a", "b"],
        "02": ["b"],
    }
    assert (tally.images, tally.predicted, tally.failed) == (2, 3, 0)


def test_missing_file_fails_only_for_members_with_remaining_work(tmp_path):
    paths = images(tmp_path, [40, 50])
    paths[0].unlink()
    sink = MemorySink()
    tally = run(
        {"a": Brightness(), "b": Brightness()}, {n: member(n) for n in "ab"}, names(paths), paths,
        sink, device=CPU, todo={"a": {"00"}, "b": {"01"}},
    )  # fmt: skip
    message = f"Cannot read image `{paths[0]}`: No such file or directory."
    assert sink.results["00"] == {"a": Failure("ImageError", message)}
    assert (tally.predicted, tally.failed) == (1, 1)


def test_progress_includes_earlier_results(tmp_path):
    paths = images(tmp_path, [40, 50, 60, 70])
    calls = []
    run(
        {"bright": Brightness()}, {"bright": member(batch_size=2)}, names(paths), paths,
        MemorySink(), device=CPU, todo={"bright": {"02", "03"}},
        progress=lambda *call: calls.append(call),
    )  # fmt: skip
    assert calls == [(4, 4)]


def test_small_batches_are_parts_of_a_larger_one(tmp_path):
    paths = images(tmp_path, [40, 50, 60, 70])
    small, large = Brightness(), Brightness()
    run(
        {"small": small, "large": large},
        {"small": member("small", 1), "large": member("large", 4)},
        names(paths), paths, MemorySink(), device=CPU,
    )  # fmt: skip
    assert [len(ids) for ids in small.batches] == [1, 1, 1, 1]
    assert [len(ids) for ids in large.batches] == [4]


def test_run_without_images(tmp_path):
    sink = MemorySink()
    tally = run({}, {}, [], [], sink, device=CPU)
    assert (tally.images, sink.results) == (0, {})
