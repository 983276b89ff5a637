"""Registered ensembles in MLflow: versions, aliases, promotion and rollback."""
