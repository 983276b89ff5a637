"""Detectors that run in a Python environment separate from ours."""
