"""Training-time image augmentation."""
