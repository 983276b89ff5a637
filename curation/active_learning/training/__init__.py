"""Training data: labeled images, snapshots and student ensembles."""
