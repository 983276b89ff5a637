"""Inference on a dataset: predictions, deep tiers and fusion."""
