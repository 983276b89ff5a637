"""The engine's parts: reading, running members, batch sizes, overlapping, worker processes."""
