"""Checkpoint folders: where weights come from, their licenses and their format."""
