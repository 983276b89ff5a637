"""Labeling backends: an oracle, exported files, and labeling servers."""
