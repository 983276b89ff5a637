"""Readers of image sources and the checks that every format shares."""
