"""Trackers in the completeness test."""

from __future__ import annotations

import tiny_sam2
from tiny_case import Case

CASES = {
    "byte_track": Case(adapter="byte_track", write=lambda folder: None, members=("byte_track",)),
    "sam_video": Case(adapter="sam_video", write=tiny_sam2.write_as_published),
}

UNCHECKED = {"cotracker": "needs the CC-BY-NC checkout of facebookresearch/co-tracker"}
"""Families without a tiny checkpoint, and why: their code cannot be brought along."""
