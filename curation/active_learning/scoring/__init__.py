"""Hardness scores and baseline acquisition functions."""
