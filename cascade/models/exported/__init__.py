"""Exported networks: ONNX and LiteRT files."""
