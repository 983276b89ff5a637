"""Readers of dataset formats, one module per format."""
