"""What a detector in an environment of its own runs; see docs/worker.md."""
