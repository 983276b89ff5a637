"""Scoring, selection, training, evaluation and gating."""
