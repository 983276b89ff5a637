import pytest
import torch

from cascade.engine.batch_sizes import BatchSizeCache, cache_key, fastest
from cascade.manifest import Member


def raise_out_of_memory():
    raise torch.OutOfMemoryError("no more")


CURVES = [
    pytest.param({8: 100, 16: 190, 32: 360, 64: 365}, 32, id="last doubling does not pay"),
    pytest.param({8: 100, 16: 90}, 8, id="no doubling pays"),
    pytest.param({8: 100, 16: 200, 32: 400, 64: 800}, 64, id="largest size"),
    pytest.param({8: 100, 16: 200, 32: None}, 16, id="out of memory"),
    pytest.param({8: None}, 8, id="out of memory at the first size; the run halves it"),
]


@pytest.mark.parametrize(("curve", "expected"), CURVES)
def test_fastest_doubles_while_throughput_rises(curve, expected):
    assert fastest(lambda size: curve[size] or raise_out_of_memory(), 8, max_size=64) == expected


def test_cache_round_trip(tmp_path):
    cache = BatchSizeCache(tmp_path / "new" / "sizes.json")
    assert cache.get("a") is None
    cache.put("a", 32)
    cache.put("b", 64)
    assert (BatchSizeCache(cache.file).get("a"), cache.get("b")) == (32, 64)


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": "many"}', '{"a": -4}'])
def test_damaged_cache_file_counts_as_empty(tmp_path, content):
    file = tmp_path / "sizes.json"
    file.write_text(content)
    cache = BatchSizeCache(file)
    assert cache.get("a") is None
    cache.put("a", 16)
    assert cache.get("a") == 16


def test_read_only_folder_logs_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    BatchSizeCache(tmp_path / "file" / "sizes.json").put("a", 16)
    assert "Cannot store the batch size of a" in caplog.text


def test_cache_key_depends_on_precision_but_not_on_name():
    cpu = torch.device("cpu")
    member = Member(name="one", tier="detection", adapter="detr", license="MIT")
    assert cache_key(member, cpu) == cache_key(member.model_copy(update={"name": "other"}), cpu)
    assert cache_key(member, cpu) != cache_key(member.model_copy(update={"precision": "bf16"}), cpu)
