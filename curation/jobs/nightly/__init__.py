"""Nightly jobs: ranking, drift, incremental embeddings and hardness."""
