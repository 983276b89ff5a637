"""Presentation of a dataset: figures counted by the database, colors and saved views."""
