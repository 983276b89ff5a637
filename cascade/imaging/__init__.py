"""Image decoding, resizing and batching."""
