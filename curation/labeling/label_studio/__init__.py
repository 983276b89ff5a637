"""Label Studio labeling backend."""
