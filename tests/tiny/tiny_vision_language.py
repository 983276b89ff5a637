"""The language tier has no checkpoint here: a server holds it."""

CASES: dict[str, object] = {}
SERVED = {"vision_language": "tests/faults/test_language_server.py"}
MEMBERS = ("vlm_fast_a", "vlm_fast_b", "vlm_precision")
