"""CVAT labeling backend."""
