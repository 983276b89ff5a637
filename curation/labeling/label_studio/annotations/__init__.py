"""Conversion between Label Studio annotations and FiftyOne labels."""
