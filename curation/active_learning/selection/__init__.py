"""Batch selection: candidates, near-duplicates, coverage and stopping."""
