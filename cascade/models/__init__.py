"""Adapters: one family of models a file."""
