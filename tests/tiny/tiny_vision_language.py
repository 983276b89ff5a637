"""The language tier has no checkpoint of ours: a server has it, and a real one is tested with."""

CASES: dict[str, object] = {}
SERVED = {"vision_language": "tests/faults/test_language_server.py"}
MEMBERS = ("vlm_fast_a", "vlm_fast_b", "vlm_precision")
