"""Image embedders."""
