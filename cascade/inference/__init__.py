"""Image-level decisions of an ensemble, and their latency."""
