"""Code that runs in a worker's own environment; see docs/worker.md."""
