"""Evaluation of ensembles on the frozen evaluation set."""
