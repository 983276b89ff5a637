"""Labeling in Label Studio: tasks, images and answers, there and back."""
