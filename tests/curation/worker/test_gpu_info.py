from cascade.planning.resources import Gpu
from curation.worker import gpu_info


def test_driver_output_is_parsed():
    output = "NVIDIA H100 80GB HBM3, 81559\nNVIDIA L4, 23034\n"
    assert gpu_info.parse(output) == (
        Gpu("NVIDIA H100 80GB HBM3", 81559.0),
        Gpu("NVIDIA L4", 23034.0),
    )
    assert gpu_info.parse("") == ()


def test_only_visible_gpus_are_used(monkeypatch):
    monkeypatch.setattr(gpu_info, "installed_gpus", lambda: (Gpu("NVIDIA L4", 23034.0),) * 3)
    assert gpu_info.visible_gpus({}) == (0, 1, 2)
    assert gpu_info.visible_gpus({"CUDA_VISIBLE_DEVICES": "2,0"}) == (2, 0)
    assert gpu_info.visible_gpus({"CUDA_VISIBLE_DEVICES": ""}) == ()
    assert gpu_info.visible_gpus({"CUDA_VISIBLE_DEVICES": "7"}) == ()
