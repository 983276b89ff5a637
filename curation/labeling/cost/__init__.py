"""Cost preview of a labeling batch."""
