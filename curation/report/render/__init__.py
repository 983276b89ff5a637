"""Rendering of reports: HTML, terminal and thumbnails."""
