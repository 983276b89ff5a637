"""Fitting one member on (image, target) pairs."""
