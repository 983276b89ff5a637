import pytest
import torch

from cascade.engine.batch_sizes import Remembered, best, key_of
from cascade.manifest import Member


def short_of_memory(*_):
    raise torch.OutOfMemoryError("no more")


CURVES = [
    pytest.param({8: 100, 16: 190, 32: 360, 64: 365}, 32, id="the last doubling did not pay"),
    pytest.param({8: 100, 16: 90}, 8, id="none pays"),
    pytest.param({8: 100, 16: 200, 32: 400, 64: 800}, 64, id="the largest that is tried"),
    pytest.param({8: 100, 16: 200, 32: None}, 16, id="memory ran out"),
    pytest.param({8: None}, 8, id="memory ran out at once: the run itself will halve"),
]


@pytest.mark.parametrize(("curve", "expected"), CURVES)
def test_a_size_is_doubled_as_long_as_that_pays(curve, expected):
    rate = {size: found or short_of_memory for size, found in curve.items()}
    found = best(lambda n: rate[n]() if callable(rate[n]) else rate[n], 8, most=64)
    assert found == expected


def test_what_was_found_is_remembered(tmp_path):
    mine = Remembered(tmp_path / "new" / "sizes.json")
    assert mine.get("a") is None
    mine.put("a", 32)
    mine.put("b", 64)
    assert (Remembered(mine.file).get("a"), mine.get("b")) == (32, 64)


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": "many"}', '{"a": -4}'])
def test_a_damaged_file_is_as_none(tmp_path, content):
    file = tmp_path / "sizes.json"
    file.write_text(content)
    mine = Remembered(file)
    assert mine.get("a") is None
    mine.put("a", 16)
    assert mine.get("a") == 16


def test_a_folder_that_cannot_be_written_to_is_no_error(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    Remembered(tmp_path / "file" / "sizes.json").put("a", 16)
    assert "could not be kept" in caplog.text


def test_a_size_holds_for_one_member_in_one_precision():
    cpu = torch.device("cpu")
    one = Member(name="one", tier="detection", adapter="detr", licence="MIT")
    assert key_of(one, cpu) == key_of(one.model_copy(update={"name": "other"}), cpu)
    assert key_of(one, cpu) != key_of(one.model_copy(update={"precision": "bf16"}), cpu)
