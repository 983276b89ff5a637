"""Object trackers."""
