"""Shared code of the adapters for Hugging Face transformers."""
